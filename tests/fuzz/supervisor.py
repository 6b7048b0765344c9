"""Runs a task over numbered files in processes that may crash, hang or swell, and counts what comes of each file.

Counts live in memory that the supervisor shares with its workers, so none is lost when one dies. Needs /proc (Linux).
"""

import faulthandler
import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moderator import errors
from moderator.verdicts import Decision

#: Makes the n-th file. Pure, so that a finding can be made again.
MakeFile = Callable[[int], bytes]
#: Judges a file: returns a decision or raises a `ModeratorError`.
Task = Callable[[bytes], str]

VERDICTS = tuple(str(decision) for decision in Decision)
ERRORS = tuple(sorted(name for name, kind in vars(errors).items() if isinstance(kind, type)))
OUTCOMES = (*VERDICTS, *ERRORS, "untyped")
#: Seconds between two looks at the workers.
TICK = 0.1
_CURRENT, _PEAK_KB, _SLOWEST_MS, _SLOWEST = range(4)
_FIELDS = 4


@dataclass(frozen=True)
class Limits:
    """Per file: seconds; per worker: MB of resident memory."""

    seconds: float
    memory_mb: int


@dataclass
class Report:
    """What came of the files. `findings` names those that broke something, by `kind-number`."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    peak_mb: float = 0.0
    slowest_ms: int = 0
    slowest: int = 0

    @property
    def images(self) -> int:
        """Files that were tried."""
        return sum(self.counts.values())

    def total(self, names: tuple[str, ...]) -> int:
        """How many files had one of these outcomes."""
        return sum(self.counts[name] for name in names)


class Supervisor:
    """Spreads files over workers and restarts those that break, behind the file that broke them.

    Args:
        load_task: called once in each worker. Pickled, as is `make_file`.
        make_file: makes a file from its number.
        limits: beyond these a worker is killed.
        folder: where the files that break something are written; None: nowhere.
    """

    def __init__(
        self, load_task: Callable[[], Task], make_file: MakeFile, limits: Limits, folder: Path | None = None
    ) -> None:
        self._load_task = load_task
        self._make_file = make_file
        self._limits = limits
        self._folder = folder
        self._context = multiprocessing.get_context("spawn")

    def run(self, files: int, workers: int) -> Iterator[Report]:
        """Try the files 0 to `files` - 1. Yields the report so far at each tick, and the whole one at the end."""
        report = Report()
        team = [_Worker(self, number, range(number, files, workers)) for number in range(workers)]
        try:
            while any(worker.running for worker in team):
                time.sleep(TICK)
                for worker in team:
                    if worker.running and (broke := worker.look()) is not None:
                        kind, number = broke
                        report.counts[kind] += 1
                        self.keep(f"{kind}-{number}", number, report)
                yield self._sum(report, team)
        finally:
            for worker in team:
                worker.kill()
        yield self._sum(report, team)

    def keep(self, name: str, number: int, report: Report) -> None:
        """Note a finding, and write its file."""
        report.findings.append(name)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{name}.bin").write_bytes(self._make_file(number))

    def _sum(self, report: Report, team: "list[_Worker]") -> Report:
        whole = Report(Counter(report.counts), list(report.findings))
        for worker in team:
            slots = worker.slots
            whole.counts.update({name: n for name, n in zip(OUTCOMES, slots[_FIELDS:], strict=True) if n})
            whole.peak_mb = max(whole.peak_mb, slots[_PEAK_KB] / 1024, worker.seen_kb / 1024)
            if slots[_SLOWEST_MS] > whole.slowest_ms:
                whole.slowest_ms, whole.slowest = slots[_SLOWEST_MS], slots[_SLOWEST]
            for number, text in worker.untyped():
                print(text, flush=True)
                self.keep(f"untyped-{number}", number, report)
                whole.findings.append(report.findings[-1])
        return whole


class _Worker:
    """One process, and how far it got."""

    def __init__(self, owner: Supervisor, number: int, files: range) -> None:
        self._owner = owner
        self._files = files
        self._name = f"fuzz-{number}"
        self.slots: Any = owner._context.Array("q", _FIELDS + len(OUTCOMES), lock=False)
        self.seen_kb = 0
        self.running = True
        self._start(files)

    def _start(self, files: range) -> None:
        self.slots[_CURRENT] = -1
        self._last, self._ticks = -1, 0
        self._receiver, sender = self._owner._context.Pipe(duplex=False)
        self._process = self._owner._context.Process(
            target=_work,
            args=(self._owner._load_task, self._owner._make_file, files, self.slots, sender),
            name=self._name,
            daemon=True,
        )
        self._process.start()
        sender.close()

    def look(self) -> tuple[str, int] | None:
        """Look after the process; if a file broke it, say how and which, and start again behind that file."""
        current = self.slots[_CURRENT]
        if self._process.exitcode is not None:
            if self._process.exitcode == 0:
                self.running = False
                return None
            if current < 0:
                raise RuntimeError(f"{self._name} did not start: exit code {self._process.exitcode}")
            return self._restart("crash", current)
        resident_kb, stopped = _status(self._process.pid)
        self.seen_kb = max(self.seen_kb, resident_kb)
        if current < 0:  # it still loads the task
            return None
        if resident_kb > self._owner._limits.memory_mb * 1024:
            self.kill()
            return self._restart("memory", current)
        if current != self._last:
            self._last, self._ticks = current, 0
        elif not stopped:  # a process that somebody stopped is not to blame for the time
            self._ticks += 1
        if self._ticks * TICK > self._owner._limits.seconds:
            self.kill()
            return self._restart("hang", current)
        return None

    def kill(self) -> None:
        """End the process, if it lives."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def untyped(self) -> Iterator[tuple[int, str]]:
        """Files that raised an error of no type, since this was asked last."""
        try:
            while self._receiver.poll():
                yield self._receiver.recv()
        except EOFError:
            return

    def _restart(self, kind: str, current: int) -> tuple[str, int]:
        rest = range(current + self._files.step, self._files.stop, self._files.step)
        self.running = bool(rest)
        if rest:
            self._start(rest)
        return kind, current


def _work(load_task: Callable[[], Task], make_file: MakeFile, files: range, slots: Any, sender: Any) -> None:
    """What a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor ends it
    quiet = os.open(os.devnull, os.O_WRONLY)
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    os.dup2(quiet, 2)  # libtiff writes a line for each oddity
    task, supervisor = load_task(), multiprocessing.parent_process()
    assert supervisor is not None
    for number in files:
        if not supervisor.is_alive():  # killed, it ended nobody
            return
        data = make_file(number)
        slots[_CURRENT] = number
        start = time.process_time()
        try:
            outcome = task(data)
        except errors.ModeratorError as error:
            outcome = type(error).__name__
        except Exception:  # what the whole search is for
            outcome = "untyped"
            sender.send((number, f"file {number}: {traceback.format_exc(limit=-6)}"))
        milliseconds = int(1000 * (time.process_time() - start))
        if milliseconds > slots[_SLOWEST_MS]:
            slots[_SLOWEST_MS], slots[_SLOWEST] = milliseconds, number
        slots[_PEAK_KB] = max(slots[_PEAK_KB], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        slots[_FIELDS + OUTCOMES.index(outcome)] += 1


def _status(pid: int | None) -> tuple[int, bool]:
    """Resident memory in kB, and whether the process is stopped by a signal."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return 0, False
    facts = dict(line.partition(":")[::2] for line in lines)
    return int(facts.get("VmRSS", "0").split()[0]), facts.get("State", "").strip().startswith("T")
