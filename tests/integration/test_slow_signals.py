"""A kind of signal that takes seconds of a core, of an installed package, and events that do not use it."""

import statistics
import time
from pathlib import Path

import pytest

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer
from moderator.verdicts import Decision
from tests.integration.conftest import StartWorker
from tests.support.policies import release
from tests.support.service import copy_policies, make_client

#: As long, and as greedy, as reading a page of text.
MODULE = """
import time
from hashlib import sha256

from moderator.signals.signal import Options, SignalResult

class Patient:
    options_type = Options
    needs_file = False
    uses_pixels = True
    enough_pixels = 2000

    def __init__(self, options, context):
        self.block = bytes(10_000_000)

    def read(self, frame):
        end = time.thread_time() + 2.0
        while time.thread_time() < end:
            sha256(self.block)
        return SignalResult(0.0)

    @classmethod
    def examples(cls):
        return []
"""
POLICY = """\
name: patient
version: 1
safe: [a cat]
signals: [{name: page, kind: patient}]
categories:
  weapons: {unsafe: [a gun]}
  page: {signal: page}
"""
#: Events that are timed, alone and beside the others.
COUNT = 15


def install(folder: Path) -> None:
    """As pip would."""
    (folder / "patience-1.dist-info").mkdir(parents=True)
    (folder / "patience-1.dist-info" / "METADATA").write_text("Name: patience\nVersion: 1\n")
    entry = "[moderator.signals]\npatient = patience:Patient\n"
    (folder / "patience-1.dist-info" / "entry_points.txt").write_text(entry)
    (folder / "patience.py").write_text(MODULE)


def seconds(client: Client, image: Path, name: str) -> list[float]:
    """How long single events take, one after the other."""
    times = []
    for n in range(COUNT):
        start = time.monotonic()
        client.submit(path=image, id=f"{name}-{n}")
        assert client.wait(f"{name}-{n}", timeout=30).decision is not Decision.ERROR
        times.append(time.monotonic() - start)
    return times


@pytest.mark.slow
def test_an_event_does_not_wait_for_the_slow_signals_of_others(
    server: EmbeddedServer,
    start_worker: StartWorker,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copy_policies(tmp_path / "policies")
    install(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    (folder / "patient").mkdir()
    (folder / "patient" / "1.yaml").write_text(POLICY)
    release(folder, "patient", 1)
    worker = start_worker(server.url, policies=str(folder))
    client = make_client(server.url)
    image = images / "red-panda.jpg"
    alone = seconds(client, image, "alone")

    slow = [client.submit(path=image, id=f"slow-{n}", policy="patient@1") for n in range(50)]
    time.sleep(1.0)
    beside = seconds(client, image, "beside")

    assert statistics.median(beside) < 3 * statistics.median(alone) + 0.05, (alone, beside)
    assert max(beside) < 5, beside
    waiting = [event for event in slow if client.verdicts.get(event.key) is None]
    assert len(waiting) > 30, "the others were done; the test shows nothing"
    first = client.wait("slow-0", timeout=120)
    assert (first.decision is not Decision.ERROR, first.signals["page"]["score"]) == (True, 0)
    assert len(client.dead_letters) == 0
    worker.kill()
