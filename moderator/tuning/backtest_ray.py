"""Counts blocks of a back-test on Ray: the same function as in threads. Needs the extra `ray`.

This process reads the archive and hands out blocks, so the machines of a cluster need neither its database nor its
segments.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from moderator.backfill.ray_cluster import ray_cluster
from moderator.errors import BacktestError
from moderator.tuning.backtest import BacktestPart, count_part
from moderator.tuning.backtest_counts import BacktestCounts, BacktestPlan

#: Blocks in the cluster's memory for each of its cores: one that is counted, one that waits.
BLOCKS_PER_CORE = 2


class RayBacktestEngine:
    """Counts in tasks of Ray, one for each block."""

    def count(self, plan: BacktestPlan, parts: Iterable[BacktestPart]) -> Iterator[BacktestCounts]:
        """Yield the counts of each part, as they are done.

        Raises:
            ExtraMissing: Ray is not installed.
            BacktestError: Ray fails.
        """
        with ray_cluster(lambda reason: BacktestError(f"Ray failed: {reason}; try again")) as ray:
            task, shared = ray.remote(count_part), ray.put(plan)
            most = BLOCKS_PER_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
            running: list[Any] = []
            for part in parts:
                running.append(task.remote(shared, part))
                if len(running) >= most:
                    done, running = ray.wait(running)
                    yield from ray.get(done)
            while running:
                done, running = ray.wait(running)
                yield from ray.get(done)
