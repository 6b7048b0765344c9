"""Forked workers, which most tests use, are processes like those that an operator starts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from moderator.queue.embedded_server import free_port
from tests.support.service import ForkedWorker, environment, fork_server, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has it: the fork of a worker")


@pytest.fixture
def worker(tmp_path: Path) -> ForkedWorker:
    """One that waits for a server."""
    worker = ForkedWorker(tmp_path / "worker", redis_url=f"redis://127.0.0.1:{free_port()}/0")
    worker.start(wait=False)
    until(lambda: "waiting for Redis" in worker.log, timeout=60)
    return worker


def test_it_has_its_own_folder_and_output_and_the_group_of_the_tests(worker: ForkedWorker) -> None:
    process = Path(f"/proc/{worker.pid}")
    assert (process / "cwd").resolve() == worker.folder.resolve()
    assert {(process / "fd" / str(n)).resolve() for n in (1, 2)} == {worker.log_file.resolve()}
    assert (process / "fd" / "0").resolve() == Path(os.devnull)
    assert os.getpgid(worker.pid) == os.getpgid(0)
    assert worker.poll() is None
    worker.kill()
    assert worker.poll() == worker.wait() == -signal.SIGKILL
    assert not process.exists()


def test_a_signal_ends_it_as_it_would_another(worker: ForkedWorker) -> None:
    worker.send(signal.SIGINT)
    assert worker.wait(20) == 0
    assert "Traceback" not in worker.log


def test_it_ends_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    start = (
        "from pathlib import Path; from tests.support.service import ForkedWorker, until\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"worker = ForkedWorker(folder, redis_url='redis://127.0.0.1:{free_port()}/0').start(wait=False)\n"
        "until(lambda: 'waiting for Redis' in worker.log, 60)\n"
        "(folder / 'pid').write_text(str(worker.pid))"
    )
    subprocess.run([sys.executable, "-c", start], cwd=Path(__file__).parents[2], check=True)
    pid = (tmp_path / "pid").read_text()
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_its_settings_are_its_own(tmp_path: Path) -> None:
    worker = ForkedWorker(tmp_path, max_attempts="none").start(wait=False)
    assert worker.wait() == 2
    assert "MODERATOR_MAX_ATTEMPTS" in worker.log


def test_what_changes_imports_is_not_forked() -> None:
    assert fork_server().serves(environment(redis_url="redis://a"))
    assert not fork_server().serves({**environment(), "PYTHONPATH": "/elsewhere"})
    assert not fork_server().serves({**environment(), "OMP_NUM_THREADS": "2"})
