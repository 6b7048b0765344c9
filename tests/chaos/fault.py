"""What a fault is, and how a row of the table comes about: the stage is set, the fault strikes, all is counted."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import ClassVar

from moderator.queue.embedded_server import EmbeddedServer
from tests.chaos.stage import Server, Setting, Stage
from tests.support.service import ForkedWorker, WorkerProcess
from tests.support.small_model import small_model

#: Seconds before a fault strikes in the quick version, at least and at most.
QUICKLY = 0.2, 0.7


class Skipped(Exception):
    """The fault cannot be made on this machine; the message says why."""


@dataclass(frozen=True)
class Row:
    """What a fault did."""

    fault: str
    trials: int = 0
    events: int = 0
    """Accepted: the caller was told so."""
    verdicts: int = 0
    lost: int = 0
    """Events without a verdict. An `error` verdict with its dead letter is one."""
    lost_in_window: int = 0
    """Not in `lost`: accepted so shortly before the fault that nobody promised to keep them."""
    doubled: int = 0
    """Verdicts too many."""
    refused: int = 0
    """Answers to the caller that an event is not accepted."""
    spooled: int = 0
    """Events that were accepted onto the caller's disk."""
    recovery_s: float = 0.0
    """The longest time from the end of a fault to the next verdict."""
    seconds: float = 0.0
    problems: tuple[str, ...] = ()
    """Whatever is not as promised."""
    skipped: str | None = None

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.problems)


class Fault(ABC):
    """Something that goes wrong under load. Any of the methods that set the stage may raise `Skipped`.

    Args:
        quick: few trials, short outages.
        folder: for all that it needs.
    """

    name: ClassVar[str]
    what: ClassVar[str]
    #: How often it strikes: in the whole version, in the quick one.
    trials: ClassVar[tuple[int, int]] = (5, 1)
    #: Seconds before it strikes again, at least and at most.
    between: ClassVar[tuple[float, float]] = (0.5, 2.0)
    #: Whether the worker may die of it.
    may_kill_worker: ClassVar[bool] = False
    #: Whether workers start as an operator starts them in the quick version, too, where others are forked.
    real_start: ClassVar[bool] = False

    def __init__(self, quick: bool, folder: Path) -> None:
        self.quick = quick
        self.folder = folder

    @abstractmethod
    def strike(self, stage: Stage, trial: int) -> None:
        """Break something and mend it; returns when the fault has ended."""

    def check(self, stage: Stage) -> Iterator[str]:
        """What else is not as promised, after all is counted."""
        yield from ()

    def server(self) -> Server:
        """What the service runs on."""
        return EmbeddedServer(self.folder / "server", appendfsync="always")

    def setting(self) -> Setting:
        """How the stage is set."""
        return Setting()

    def close(self) -> None:  # noqa: B027 (most have nothing)
        """Take down what is left when the stage is gone."""

    def around(self, stage: Stage) -> AbstractContextManager[object]:
        """What goes on beside the trials."""
        return nullcontext()


def play(kind: type[Fault], *, quick: bool, cache: Path, seed: int, events: int) -> Row:
    """Run a row of the table.

    Args:
        kind: the fault.
        quick: its quick version, in which most workers judge by a small model.
        cache: compiled policies, for all rows.
        seed: of the moments at which it strikes.
        events: at least so many are submitted.
    """
    start, trials = time.monotonic(), kind.trials[quick]
    with TemporaryDirectory(prefix="moderator-chaos-") as name, ExitStack() as stack:
        folder = Path(name)
        fault = kind(quick, folder)
        stack.callback(fault.close)
        try:
            server, setting = fault.server(), fault.setting()
        except Skipped as reason:
            return Row(kind.name, skipped=str(reason))
        random = Random(f"{seed} {kind.name}")
        process: type[WorkerProcess] = WorkerProcess
        if quick and not kind.real_start:
            process = ForkedWorker
            setting = replace(setting, worker={**small_model(cache), **setting.worker})
        stage = stack.enter_context(Stage(folder, server, setting, cache, random, process))
        with fault.around(stage):
            for trial in range(trials):
                stage.wait(*(fault.between if not quick else QUICKLY))
                fault.strike(stage, trial)
                stage.recover()
            stage.until(lambda: len(stage.load.told) >= events)
            count = stage.finish()
            problems = [*count.problems, *fault.check(stage)]
            if stage.deaths and not fault.may_kill_worker:
                problems.append(f"the worker died {stage.deaths} times")
        return Row(
            fault=kind.name,
            trials=trials,
            events=count.events,
            verdicts=count.verdicts,
            lost=count.lost,
            lost_in_window=count.lost_in_window,
            doubled=count.doubled,
            refused=stage.load.refused.total(),
            spooled=stage.load.spooled,
            recovery_s=round(max(stage.recoveries), 1),
            seconds=round(time.monotonic() - start, 1),
            problems=tuple(problems),
        )
