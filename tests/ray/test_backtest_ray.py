"""A back-test on Ray counts the same as in threads."""

from contextlib import closing
from pathlib import Path

import numpy as np

from moderator.archive.archive_records import read_delivery
from moderator.archive.archive_store import Archive, open_archive
from moderator.archive.segments import seal
from moderator.identity import Identity
from moderator.policies.schema import Policy
from moderator.scoring.layout import lay_out
from moderator.scoring.thresholds import CompiledPolicy
from moderator.settings import Settings
from moderator.tuning.archived_images import ArchivePolicy
from moderator.tuning.backtest import BacktestEngine, BacktestResult, ThreadEngine, run_backtest
from moderator.tuning.backtest_counts import BacktestPlan
from moderator.tuning.backtest_ray import RayBacktestEngine
from tests.support.archived import DIMENSION, MODEL, deliveries


def backtest(archive: Archive, plan: BacktestPlan, engine: BacktestEngine) -> BacktestResult:
    return run_backtest(
        archive, plan, engine, since=None, until=None, policy="market", progress=lambda done, total: None
    )


def test_ray_gives_the_counts_of_threads(tmp_path: Path) -> None:
    categories = {"weapons": {"unsafe": ["a"], "review": 0.4, "block": 0.6}}
    policy = Policy.model_validate({"name": "market", "version": 2, "safe": ["b"], "categories": categories})
    axes = np.eye(DIMENSION, dtype=np.float32)[:2]
    compiled = CompiledPolicy(policy, lay_out(policy), axes, 1.0, 0.0)
    identity = Identity(MODEL.id, MODEL.revision, MODEL.preprocessing)
    plan = BacktestPlan(ArchivePolicy(compiled, identity, {}, {}, {}))
    with closing(open_archive(Settings(archive_url=f"sqlite:///{tmp_path}/a.sqlite3"))) as archive:
        for at in range(0, 600, 100):
            archive.add([read_delivery(one) for one in deliveries(range(at, at + 100), frames=2)])
            seal(archive, everything=True)
        threads, ray = (backtest(archive, plan, engine) for engine in (ThreadEngine(), RayBacktestEngine()))
    assert threads == ray
    assert (threads.counts.images, threads.counts.rows) == (600, 1200)
    assert threads.counts.flips() > 0
