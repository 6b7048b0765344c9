"""Try a policy on the archive: re-decide every image from its stored embedding, block by block."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from moderator.archive.archive_store import Archive
from moderator.archive.day_decisions import (
    LEVELS,
    DayDecisions,
    among,
    count_frames,
    day_ends,
    days_of,
    decided_by,
    read_day,
    read_flags,
)
from moderator.archive.evidence_reader import read_blocks
from moderator.bounded_map import bounded_map
from moderator.tuning.archived_images import image_starts
from moderator.tuning.backtest_counts import ArchivedDecisions, BacktestCounts, BacktestPlan, count_block

if TYPE_CHECKING:
    from moderator.archive.segment_file import EvidenceBlock

#: Blocks that wait for a thread, beside those that are counted: bounds memory.
BLOCKS_WAITING_MAX = 1

#: A block, and what the archive says of its images.
BacktestPart = tuple["EvidenceBlock", ArchivedDecisions]
#: Called with the embeddings that are done, and all.
Progress = Callable[[int, int], None]


class BacktestEngine(Protocol):
    """Counts blocks somewhere."""

    def count(self, plan: BacktestPlan, parts: Iterable[BacktestPart]) -> Iterator[BacktestCounts]:
        """Yield the counts of each part, in any order."""
        ...


@dataclass
class BacktestResult:
    """What a back-test found."""

    since: datetime | None
    until: datetime | None
    counts: BacktestCounts = field(default_factory=BacktestCounts)
    days: list[date] = field(default_factory=list)
    """With evidence, in order."""
    errors: int = 0
    """Verdicts with the decision `error`: nobody has judged these images."""
    without_evidence: int = 0
    """Other verdicts that have no embedding, such as those of people."""


def run_backtest(
    archive: Archive,
    plan: BacktestPlan,
    engine: BacktestEngine,
    *,
    since: datetime | None,
    until: datetime | None,
    policy: str | None,
    progress: Progress,
) -> BacktestResult:
    """Re-decide the archive. Memory is bounded by a few blocks and the numbers of one day's verdicts.

    Args:
        archive: the archive.
        plan: which policy decides, and what to compare it with.
        engine: where to count.
        since: moment of the first decision; None: from the beginning.
        until: moment before which decisions were made; None: until now.
        policy: name of one: only images that it decided; None: all.
        progress: takes the number of embeddings.

    Raises:
        ArchiveUnavailable, SegmentBroken: the archive cannot be read.
    """
    result = BacktestResult(since, until, days=days_of(archive, since, until))
    total, done = count_frames(archive, result.days), 0
    policies = [one for one in (plan.policy, plan.against) if one is not None]
    asked = decided_by(archive, policy)
    readings = any(one.kept or one.opinions for one in policies)

    def parts() -> Iterator[BacktestPart]:
        nonlocal done
        for day in result.days:
            begin, end = day_ends(day, since, until)
            decided = read_day(archive, begin, end, asked)
            result.errors += decided.errors
            found = 0
            for block in read_blocks(archive, begin, end, readings=readings):
                archived = _archived(archive, block, decided, day)
                found += int(archived.wanted.sum())
                yield block, archived
                done += len(block.frames)
                progress(done, total)
            result.without_evidence += decided.count - found

    for counts in engine.count(plan, parts()):
        result.counts.add(counts)
    return result


class ThreadEngine:
    """Counts in threads of this process: NumPy computes without the interpreter's lock.

    Args:
        threads: default: one for each core.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1

    def count(self, plan: BacktestPlan, parts: Iterable[BacktestPart]) -> Iterator[BacktestCounts]:
        """Yield the counts of each part, in order."""
        step = partial(count_part, plan)
        with _single_products():
            for counts in bounded_map(self._threads, step, parts, self._threads + BLOCKS_WAITING_MAX):
                if counts is not None:
                    yield counts


def count_part(plan: BacktestPlan, part: BacktestPart) -> BacktestCounts:
    """Return the counts of a block."""
    return count_block(plan, *part)


def _single_products() -> AbstractContextManager[object]:
    """Have each product computed by the thread that asks for it: the threads are enough for all cores."""
    try:
        from threadpoolctl import threadpool_limits  # an extra
    except ImportError:  # only slower
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(1, "blas")
    return limits


def _archived(
    archive: Archive, block: "EvidenceBlock", decided: DayDecisions, day: date
) -> ArchivedDecisions:
    """Return what the archive says of a block's images."""
    ids = block.verdict_ids[image_starts(block)[:-1]]
    wanted = ~among(ids, decided.without) if decided.only is None else among(ids, decided.only)
    review, block_ = (among(ids, numbers) for numbers in decided.reached)
    reached = list(read_flags(archive, int(ids[0]), int(ids[-1]))) if wanted.any() else []
    categories = sorted({category for _, category, _ in reached})
    columns = {category: column for column, category in enumerate(categories)}
    flags = np.zeros((len(ids), len(categories)), np.int8)
    if reached:
        numbers = np.array([id for id, _, _ in reached], np.int64)
        rows = np.minimum(np.searchsorted(ids, numbers), len(ids) - 1)
        there = ids[rows] == numbers
        column = np.array([columns[category] for _, category, _ in reached])
        level = np.array([LEVELS.index(decision) for _, _, decision in reached], np.int8)
        flags[rows[there], column[there]] = level[there]
    return ArchivedDecisions(
        wanted,
        (review + 2 * block_).astype(np.int8),
        flags,
        tuple(categories),
        among(ids, decided.unseen),
        np.full(len(ids), np.datetime64(day)),
    )
