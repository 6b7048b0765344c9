"""Workers that are killed, stopped, or out of memory."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import psutil

from tests.chaos.fault import Fault
from tests.chaos.stage import Setting, Stage
from tests.support.hostile_images import large_jpeg


class WorkerKill(Fault):
    name = "worker-kill"
    real_start = True
    what = "the worker is killed (SIGKILL) and started again, as an init system would"
    trials = (20, 1)
    between = (0.0, 3.0)

    def setting(self) -> Setting:
        return Setting(rate=15.0)

    def strike(self, stage: Stage, trial: int) -> None:
        stage.worker.kill()
        stage.worker.start(wait=False)


class WorkerStop(Fault):
    name = "worker-stop"
    real_start = True
    what = "the worker is told to stop (SIGTERM), ends what it has in hand, and a new one takes over"

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        self._codes: list[int] = []

    def strike(self, stage: Stage, trial: int) -> None:
        self._codes.append(stage.worker.stop())
        stage.worker.start(wait=False)

    def check(self, stage: Stage) -> Iterator[str]:
        if any(self._codes):
            yield f"workers that were told to stop ended with {self._codes}"


class Signals(Fault):
    """Once is a clean stop, twice a quick one."""

    name = "signals"
    real_start = True
    what = (
        "SIGTERM, SIGINT, SIGQUIT and SIGHUP, each once and each twice; the worker is started again each time"
    )
    trials = (8, 2)
    #: What is sent; the first two are the quick version.
    _SENT: ClassVar = [(signal.SIGQUIT,), (signal.SIGINT,) * 2, (signal.SIGHUP,), (signal.SIGTERM,) * 2]
    _SENT += [(signal.SIGTERM,), (signal.SIGQUIT,) * 2, (signal.SIGINT,), (signal.SIGHUP,) * 2]

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        self._problems: list[str] = []

    def setting(self) -> Setting:
        return Setting(rate=15.0)

    def strike(self, stage: Stage, trial: int) -> None:
        sent = self._SENT[trial % len(self._SENT)]
        for number in sent:
            stage.worker.send(number)
            started = time.monotonic()
            time.sleep(0.02)
        code, expected = stage.worker.wait(), 128 + sent[-1] if len(sent) > 1 else 0
        name = f"{len(sent)} x {sent[-1].name}"
        if code != expected:
            self._problems.append(f"{name}: exit code {code}, not {expected}")
        if len(sent) > 1 and time.monotonic() - started > 5:
            self._problems.append(f"{name}: ended after {time.monotonic() - started:.1f} s")
        stage.worker.start(wait=False)

    def check(self, stage: Stage) -> Iterator[str]:
        yield from self._problems
        if "Traceback" in stage.worker.log:
            yield "a traceback in the worker's log"


class WorkerMemory(Fault):
    """Every allocation that needs more address space fails. A cgroup's limit kills, as `worker-kill` does."""

    name = "worker-memory"
    real_start = True
    what = (
        "the worker gets no more memory, and large images, for two seconds; if it dies, it is started again"
    )
    trials = (3, 1)
    may_kill_worker = True

    def strike(self, stage: Stage, trial: int) -> None:
        # Inside the events, so that the worker holds each several times.
        image = large_jpeg()
        worker = psutil.Process(stage.worker.pid)
        soft, hard = worker.rlimit(psutil.RLIMIT_AS)
        worker.rlimit(psutil.RLIMIT_AS, (worker.memory_info().vms, hard))
        for n in range(5 if self.quick else 20):
            stage.load.submit(f"large-{trial}-{n}", inline=image)
        time.sleep(2.0)
        if stage.worker.poll() is None:
            worker.rlimit(psutil.RLIMIT_AS, (soft, hard))
