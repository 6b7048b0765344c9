"""Measure a back-test of the archive against the bare product of embeddings and prompts, in threads, on the same data.

The archive is SQLite with its segments of float16 embeddings, 512 numbers each, made once under a temporary folder: 1.1
GB for 1,000,000. Beyond 1,048,576, the same files are read time and again. The policy has 5 categories of 8 prompts.
Both sides read the same segments and convert and multiply blocks of the same size; the back-test also looks up what
each verdict decided, and counts what changes. The sides take turns.

    python benchmarks/backtest.py [--rows 1000000] [--rounds 5]

The last line is JSON; times are medians over the rounds. `backtest_over_bare`: of the two. `peak_mb`: the most memory
of the process that measures, including pages of mapped files.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import sqlalchemy as sa
from threadpoolctl import threadpool_limits

from moderator.archive.archive_records import Space
from moderator.archive.archive_store import Archive, open_archive
from moderator.archive.evidence_reader import read_blocks
from moderator.archive.segment_file import SEGMENT_FRAMES_MAX, EvidenceBlock, StoredEvidence, write_segment
from moderator.archive.tables import segments, spaces, verdicts
from moderator.bounded_map import bounded_map
from moderator.identity import Identity
from moderator.policies.schema import Policy
from moderator.scoring.batch_decisions import CHUNK_ROWS
from moderator.scoring.layout import lay_out
from moderator.scoring.thresholds import CompiledPolicy
from moderator.settings import Settings
from moderator.tuning.archived_images import ArchivePolicy
from moderator.tuning.backtest import ThreadEngine, run_backtest
from moderator.tuning.backtest_counts import BacktestPlan

DIMENSION = 512
SPACE = Space("benchmark", "1", "none", DIMENSION)
FIRST_DAY = date(2026, 1, 1)
SEGMENTS_A_DAY = 4
THREADS = 2
#: Segments of their own; further ones are links to these files, and without verdicts in the database.
DIFFERENT_SEGMENTS_MAX = 16
BODY = '{"image":{"sha256":"","frames_unseen":0,"truncated":false},"metadata":{}}'
TENSOR = json.dumps(
    {"dtype": "float16", "shape": [1, DIMENSION], "model": {"id": "benchmark", "revision": "1"}}
)


def make_policy() -> BacktestPlan:
    """Return a policy of 5 categories of 8 prompts whose embeddings are random."""
    categories = {
        f"category-{n}": {
            "unsafe": [f"unsafe {n} {m}" for m in range(5)],
            "safe": [f"safe {n} {m}" for m in range(3)],
            "review": 0.9,
            "block": 0.98,
        }
        for n in range(5)
    }
    policy = Policy.model_validate({"name": "benchmark", "version": 1, "categories": categories})
    layout = lay_out(policy)
    matrix = unit_rows(np.random.default_rng(1), len(layout.prompts))
    compiled = CompiledPolicy(policy, layout, matrix, 100.0, 0.0)
    return BacktestPlan(ArchivePolicy(compiled, Identity("benchmark", "1", "none"), {}, {}, {}))


def unit_rows(random: np.random.Generator, count: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Return random embeddings of length 1."""
    rows = random.standard_normal((count, DIMENSION), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_archive(archive: Archive, rows: int) -> None:
    """Write verdicts and segments as the archive has them after some days."""
    random = np.random.default_rng(0)
    assert archive.folder is not None
    archive.folder.mkdir()
    with archive.database.write() as connection:
        inserted = sa.insert(spaces).values(**vars(SPACE)).returning(spaces.c.id)
        space_id = connection.execute(inserted).scalar_one()
    for number, first in enumerate(range(1, rows + 1, SEGMENT_FRAMES_MAX)):
        count = min(SEGMENT_FRAMES_MAX, rows + 1 - first)
        day = FIRST_DAY + timedelta(days=number // SEGMENTS_A_DAY)
        path = archive.folder / f"segment-{number}.parquet"
        if number < DIFFERENT_SEGMENTS_MAX:
            write_rows(path, first, unit_rows(random, count))
            add_verdicts(archive, random, day, first, count)
        else:
            first = 1 + number % DIFFERENT_SEGMENTS_MAX * SEGMENT_FRAMES_MAX
            path.hardlink_to(archive.folder / f"segment-{number % DIFFERENT_SEGMENTS_MAX}.parquet")
            count = SEGMENT_FRAMES_MAX
        ends = {"first_verdict_id": first, "last_verdict_id": first + count - 1}
        values = {"space_id": space_id, "day": day, "state": "sealed", "path": path.name, "frames": count}
        with archive.database.write() as connection:
            connection.execute(sa.insert(segments).values(**values, **ends))


def write_rows(path: Path, first: int, rows: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> None:
    """Write a segment of verdicts with one embedding each."""
    content, width = rows.astype("<f2").tobytes(), 2 * DIMENSION
    parts = (content[at : at + width] for at in range(0, len(content), width))
    write_segment(
        path, SPACE, [StoredEvidence(first + n, 1, part, TENSOR, "{}") for n, part in enumerate(parts)]
    )


def add_verdicts(archive: Archive, random: np.random.Generator, day: date, first: int, count: int) -> None:
    """Write verdicts of a day, of which 5 % reach review or block."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    decisions = random.choice(["allow", "review", "block"], count, p=[0.95, 0.03, 0.02]).tolist()
    seconds = random.integers(0, 86_400, count).tolist()
    with archive.database.write() as connection:
        connection.execute(
            sa.insert(verdicts),
            [
                {
                    "id": first + n,
                    "source": "benchmark",
                    "event_id": str(first + n),
                    "digest": "0",
                    "decided_at": midnight + timedelta(seconds=seconds[n]),
                    "decision": decisions[n],
                    "policy": "benchmark",
                    "policy_version": 1,
                    "body": BODY,
                }
                for n in range(count)
            ],
        )


def bare(archive: Archive, plan: BacktestPlan) -> None:
    """Multiply all embeddings with all prompts, in threads."""
    prompts = plan.policy.compiled.matrix.T

    def product(block: EvidenceBlock) -> None:
        for at in range(0, len(block.embeddings), CHUNK_ROWS):
            block.embeddings[at : at + CHUNK_ROWS].astype(np.float32) @ prompts

    with threadpool_limits(1, "blas"):
        for _ in bounded_map(THREADS, product, read_blocks(archive, readings=False), THREADS + 1):
            pass


def backtest(archive: Archive, plan: BacktestPlan, policy: str | None) -> None:
    """Back-test."""
    result = run_backtest(
        archive,
        plan,
        ThreadEngine(THREADS),
        since=None,
        until=None,
        policy=policy,
        progress=lambda done, total: None,
    )
    assert sum(result.counts.decisions.values()) == result.counts.images > 0


def measure(url: str, rounds: int) -> None:
    """Print the times of both sides and the most memory as JSON."""
    sides: dict[str, Callable[[Archive, BacktestPlan], None]] = {
        "bare": bare,
        "backtest": partial(backtest, policy=None),
        "backtest_of_policy": partial(backtest, policy="benchmark"),
    }
    plan = make_policy()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    with closing(open_archive(Settings(archive_url=url))) as archive:
        bare(archive, plan)  # what is read once is in memory for all
        for _ in range(rounds):
            for name, side in sides.items():
                start = time.perf_counter()
                side(archive, plan)
                seconds[name].append(time.perf_counter() - start)
    print(json.dumps({**{name: median(times) for name, times in seconds.items()}, "peak_mb": peak_mb()}))


def peak_mb() -> float:
    """Return the most memory that this process has had. `ru_maxrss` would include what started it."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Make the archive, then measure in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.rounds)
        return
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/archive.sqlite3"
        start = time.perf_counter()
        with closing(open_archive(Settings(archive_url=url))) as archive:
            make_archive(archive, options.rows)
        print(f"made {options.rows:,} embeddings in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        command = [sys.executable, __file__, "--measure", url, "--rounds", str(options.rounds)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    rates = {f"{name}_rows_per_s": round(options.rows / figures[name]) for name in ("bare", "backtest")}
    print(f"bare product           {figures['bare']:8.2f} s  {rates['bare_rows_per_s']:>10,} embeddings/s")
    print(
        f"back-test              {figures['backtest']:8.2f} s  {rates['backtest_rows_per_s']:>10,} embeddings/s"
    )
    print(f"  of one policy alone  {figures['backtest_of_policy']:8.2f} s")
    print(f"most memory            {figures['peak_mb']:8.0f} MB")
    print(
        json.dumps(
            {
                "rows": options.rows,
                "rounds": options.rounds,
                **{name: round(figures[name], 3) for name in ("bare", "backtest", "backtest_of_policy")},
                **rates,
                "backtest_over_bare": round(figures["backtest"] / figures["bare"], 2),
                "peak_mb": round(figures["peak_mb"]),
            }
        )
    )


if __name__ == "__main__":
    main()
