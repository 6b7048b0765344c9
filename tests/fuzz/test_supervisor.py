"""The supervisor against tasks that do what it is there for."""

import os
import signal
import time
from pathlib import Path

import pytest

from moderator.errors import ImageBroken
from tests.fuzz.supervisor import Limits, Supervisor, Task


def make_file(number: int) -> bytes:
    return b"%d" % number


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> None:
    os._exit(3)


def hang() -> None:
    time.sleep(600)


def swell() -> None:
    held = bytearray(400 << 20)
    held[:: 1 << 10] = b"x" * len(held[:: 1 << 10])
    time.sleep(600)


def raise_untyped() -> None:
    raise KeyError("no such thing")


def raise_typed() -> None:
    raise ImageBroken("broken")


ACTS = {3: crash, 5: leave, 6: hang, 8: swell, 10: raise_untyped, 11: raise_typed}


def judge(data: bytes) -> str:
    ACTS.get(int(data), lambda: None)()
    return "allow"


def load_judge() -> Task:
    return judge


def test_what_breaks_is_told_and_kept_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = Supervisor(load_judge, make_file, Limits(seconds=3, memory_mb=300), tmp_path / "found")
    *_, report = supervisor.run(14, workers=2)
    assert report.counts == {"allow": 8, "crash": 2, "hang": 1, "memory": 1, "untyped": 1, "ImageBroken": 1}
    assert report.images == 14
    assert sorted(report.findings) == ["crash-3", "crash-5", "hang-6", "memory-8", "untyped-10"]
    kept = {file.name: file.read_bytes() for file in (tmp_path / "found").iterdir()}
    assert kept == {f"{name}.bin": name.partition("-")[2].encode() for name in report.findings}
    assert report.peak_mb > 300
    assert "no such thing" in capsys.readouterr().out


def test_the_last_file_may_be_the_one(tmp_path: Path) -> None:
    *_, report = Supervisor(load_judge, make_file, Limits(60, 300)).run(4, 1)
    assert report.counts == {"allow": 3, "crash": 1}
    assert report.findings == ["crash-3"]


def broken_loader() -> Task:
    raise ValueError("no model")


def test_a_worker_that_cannot_start_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        list(Supervisor(broken_loader, make_file, Limits(60, 300)).run(1, 1))
