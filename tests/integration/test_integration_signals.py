"""What signals do to a worker: once is a clean stop, twice a quick one, whatever it is at."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from moderator.client import Client
from moderator.queue.server import EmbeddedServer, free_port
from moderator.verdicts import Decision
from tests.integration.conftest import StartWorker
from tests.integration.service import WorkerProcess, environment, make_client, until

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def published(client: Client) -> Counter[str]:
    return Counter(v.event_id for _, v in client.verdicts.tail("0", follow=False))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="decoders are looked for in /proc")
def test_each_signal_stops_a_worker_under_load_and_two_do_so_at_once(
    server: EmbeddedServer, start_worker: StartWorker, images: Path
) -> None:
    """One worker after another, as an init system starts them; the signals go to the group, as a terminal's do."""
    client = make_client(server.url)
    events = []

    def submit() -> None:
        events.extend(client.submit(path=images / "red-panda.jpg", id=str(len(events))) for _ in range(60))

    for numbers, code in [
        ((signal.SIGQUIT,), 0),
        ((signal.SIGHUP,), 0),
        ((signal.SIGINT, signal.SIGINT), 130),
        ((signal.SIGTERM, signal.SIGQUIT), 131),
    ]:
        submit()
        before = len(published(client))
        worker = start_worker(server.url, redeliver_after="2")
        until(lambda before=before: len(published(client)) >= before + 5)
        decoders = children(worker.pid)
        for number in numbers:
            os.kill(worker.pid, number)
            last = time.monotonic()
            time.sleep(0.1)
        assert worker.wait() == code, worker.log
        if len(numbers) == 2:
            assert time.monotonic() - last < 3
        assert len(published(client)) < len(events), "nothing was left to do; the test shows nothing"
        assert "Traceback" not in worker.log
        assert decoders
        until(lambda decoders=decoders: not any(Path(f"/proc/{pid}").exists() for pid in decoders))
    start_worker(server.url, redeliver_after="2")
    for event in events:
        assert client.wait(event.id, timeout=60).decision is not Decision.ERROR
    assert published(client) == Counter(event.id for event in events)
    assert client.ledger.pending() == 0


def children(pid: int) -> list[int]:
    return [
        int(child)
        for file in Path(f"/proc/{pid}/task").glob("*/children")
        for child in file.read_text().split()
    ]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_worker_that_waits_for_its_server_ends_at_the_first_signal(
    start_worker: StartWorker, number: signal.Signals
) -> None:
    worker = start_worker(f"redis://127.0.0.1:{free_port()}/0", wait=False)
    until(lambda: "waiting for Redis" in worker.log, timeout=60)

    worker.send(number)

    assert worker.wait(timeout=5) == 0, worker.log
    assert "Traceback" not in worker.log


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="namespaces need root and unshare"
)
def test_as_the_first_process_of_a_container_it_obeys(
    server: EmbeddedServer, policies: Path, images: Path, cache: Path, tmp_path: Path
) -> None:
    """The kernel does nothing by default at a signal to process 1, where its program has no handler."""
    worker = FirstProcess(
        tmp_path, redis_url=server.url, policies=str(policies), fetch_roots=str(images), cache=str(cache)
    )
    client = make_client(server.url)
    events = [client.submit(path=images / "red-panda.jpg") for _ in range(100)]
    worker.start(wait=False)
    until(lambda: len(published(client)) >= 5, timeout=60)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.inside, number)
        time.sleep(0.1)
    assert worker.wait(timeout=5) == 143, worker.log
    assert len(published(client)) < len(events), "nothing was left to do; the test shows nothing"
    assert "Traceback" not in worker.log


class FirstProcess(WorkerProcess):
    """`moderator worker` as process 1 of a namespace of its own."""

    def start(self, *, wait: bool = True) -> "FirstProcess":
        unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [*unshare, sys.executable, "-m", "moderator", "worker"],
                env=environment(**self.settings),
                cwd=self.folder,
                stdout=output,
                stderr=output,
            )
        return self

    @property
    def inside(self) -> int:
        """Its process id out here."""
        return children(self.pid)[0]
