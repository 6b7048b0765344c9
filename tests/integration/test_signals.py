"""Signals to a worker that starts, and to one that is process 1. Under load: `python -m tests.chaos --only signals`."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer, free_port
from tests.integration.conftest import StartWorker
from tests.support.service import WorkerProcess, environment, make_client, until
from tests.support.tools import needs

pytestmark = pytest.mark.real_start


def published(client: Client) -> Counter[str]:
    return Counter(v.event_id for _, v in client.verdicts.tail("0", follow=False))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_worker_that_waits_for_its_server_ends_at_the_first_signal(
    start_worker: StartWorker, number: signal.Signals
) -> None:
    worker = start_worker(f"redis://127.0.0.1:{free_port()}/0", wait=False)
    until(lambda: "waiting for Redis" in worker.log, timeout=60)

    worker.send(number)

    assert worker.wait(timeout=5) == 0, worker.log
    assert "Traceback" not in worker.log


@pytest.mark.slow
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
        unshare = [needs("unshare", package="util-linux"), "--pid", "--fork", "--mount-proc", "--kill-child"]
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
        return psutil.Process(self.pid).children()[0].pid
