"""Runs a backfill: lists its source, has an engine judge the images, writes the results."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event as Flag

from moderator.backfill.backfill_items import ReferenceMaker
from moderator.backfill.backfill_source import BackfillSource
from moderator.backfill.pacing import Pace
from moderator.backfill.queue_engine import QueueEngine
from moderator.backfill.reporting import Reporter
from moderator.backfill.result_parts import load_arrow
from moderator.backfill.run_state import NAMES_PER_WRITE, Progress, RunState
from moderator.backfill.state_database import RunPlan
from moderator.queue.bounds import QueueBounds
from moderator.queue.connection import WORKER_CALL, SentinelLogin, connect
from moderator.queue.executors import RedisExecutor
from moderator.queue.ledger import Ledger
from moderator.settings import Settings


@dataclass(frozen=True)
class BackfillOptions:
    """How to judge; may differ each time that a backfill is resumed, except the policy."""

    policy: str | None = None
    """`NAME` or `NAME@VERSION`; None: the workers' default."""
    engine: str = "queue"
    """`queue` or `ray`."""
    window: int = 512
    """Most images outstanding on the queue."""
    bulk_size: int = 32
    """Most images in one event."""
    judges: int = 1
    """Processes of Ray that judge."""
    rate: float | None = None
    """Most images per second."""
    retry: tuple[str, ...] | None = None
    """Types of errors whose images are judged again; empty: all; None: none."""


@dataclass(frozen=True)
class BackfillSummary:
    """The result of a run."""

    images: int
    """Images listed."""
    waiting: int
    """Images without a row: more than 0 only if the run was stopped."""
    decisions: dict[str, int]
    """Images judged, by decision."""
    failures: dict[str, int]
    """Images in error, by the type of the error."""
    new: int
    """Rows of this run."""
    resubmitted: int
    """Images sent again because their verdicts expired before they were read."""
    skipped: int
    """Entries of the source that are no images by their names, or empty, in this run's listing."""
    seconds: float
    """Time that this run judged."""


def run_backfill(
    source: BackfillSource,
    output: Path,
    settings: Settings,
    options: BackfillOptions,
    stop: Flag,
    reporter: Reporter,
) -> BackfillSummary:
    """Judge all images of a source, and write their rows into a folder of Parquet files.

    The call may be interrupted at any time, even by a kill, and repeated: it resumes. Once all is done, it lists the
    source again and judges what is new. Memory does not grow with the number of images.

    Args:
        source: the images.
        output: folder for the results.
        settings: all settings.
        options: how to judge.
        stop: when set, the call ends soon; what is done is kept.
        reporter: takes what happens.

    Raises:
        BackfillBusy, BackfillMismatch, BackfillUnreadable: the folder cannot be used.
        ListingFailed, NoImages: the source cannot be listed.
        ExtraMissing: pyarrow, boto3 or Ray is not installed.
    """
    load_arrow()  # before any work
    plan = RunPlan(source.name, source.column, options.policy)
    with closing(RunState(output, plan)) as state:
        if options.retry is not None:
            state.retry(options.retry)
        skipped = 0
        if not state.listed or not state.count(Progress.WAITING, Progress.SENT):
            skipped = _list(source, state, stop, reporter)
        already = state.count(Progress.DONE, Progress.FAILED)
        began = time.monotonic()
        resubmitted = 0
        try:
            resubmitted = _judge(source, state, settings, options, stop, reporter)
        finally:
            state.write()
        return BackfillSummary(
            images=state.count(),
            waiting=state.count(Progress.WAITING, Progress.SENT),
            decisions=state.decisions(),
            failures=state.failures(),
            new=state.count(Progress.DONE, Progress.FAILED) - already,
            resubmitted=resubmitted,
            skipped=skipped,
            seconds=time.monotonic() - began,
        )


def _list(source: BackfillSource, state: RunState, stop: Flag, reporter: Reporter) -> int:
    """Add the images of the source that are not known yet; return the number of entries that are none."""
    skipped = 0
    entries = source.names()
    while not stop.is_set():
        some = list(islice(entries, NAMES_PER_WRITE))
        if not some:
            state.end_listing()
            break
        names = [name for name in some if name is not None]
        state.add_names(names)
        skipped += len(some) - len(names)
        reporter.listed(len(some))
    return skipped


def _judge(
    source: BackfillSource,
    state: RunState,
    settings: Settings,
    options: BackfillOptions,
    stop: Flag,
    reporter: Reporter,
) -> int:
    """Have the engine judge; return the number of images that were sent again."""
    if stop.is_set() or not state.count(Progress.WAITING, Progress.SENT):
        return 0
    reporter.begun(state.count(), state.count(Progress.DONE, Progress.FAILED))
    references = ReferenceMaker(settings, source.files)
    if options.engine == "ray":
        from moderator.backfill.ray_engine import RayEngine  # torch and Ray: not for the queue

        RayEngine(
            state,
            settings,
            references,
            policy=options.policy,
            judges=options.judges,
            rate=options.rate,
            reporter=reporter,
        ).run(stop)
        return 0
    with _connected(settings) as (executor, ledger):
        engine = QueueEngine(
            state,
            executor,
            ledger,
            settings,
            references,
            policy=options.policy,
            window=options.window,
            bulk_size=options.bulk_size,
            pace=Pace(options.rate),
            reporter=reporter,
        )
        engine.run(stop)
        return engine.resubmitted


@contextmanager
def _connected(settings: Settings) -> Iterator[tuple[RedisExecutor, Ledger]]:
    redis = connect(settings.redis_url, call=WORKER_CALL, sentinels=SentinelLogin.of(settings))
    executor = RedisExecutor(redis)
    bounds = QueueBounds(settings.queue_limit, settings.queue_bytes)
    try:
        yield executor, Ledger(executor, settings.redeliver_after, bounds)
    finally:
        redis.close()
