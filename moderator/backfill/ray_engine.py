"""Judges the images of a backfill in Ray Data, without the queue: for what outgrows one queue.

Needs the extra `ray`. Joins the cluster that `RAY_ADDRESS` names, else starts Ray on this machine.
"""

from threading import Event as Flag
from typing import Any

from moderator.backfill.backfill_items import Item, ReferenceMaker
from moderator.backfill.outstanding_bulk import plan_bulk
from moderator.backfill.ray_cluster import ray_cluster
from moderator.backfill.reporting import Reporter
from moderator.backfill.result_parts import load_arrow
from moderator.backfill.row_judge import RowJudge, from_batch, to_batch
from moderator.backfill.run_state import RunState
from moderator.errors import BackfillError
from moderator.settings import Settings

#: Images in one Ray dataset: bounds the memory of this process. The judges start again for each.
DATASET_IMAGES_MAX = 50_000
#: Images judged at once, and so between two records of what is done.
BATCH_IMAGES = 256


class RayEngine:
    """Has Ray judge images, and records their rows.

    Args:
        state: the images and their rows.
        settings: those of the run; the paths in them must exist on each machine of the cluster.
        references: checks the images.
        policy: `NAME` or `NAME@VERSION`; None: the default policy.
        judges: processes that judge, each with an encoder of its own.
        rate: most images per second; None: as many as possible.
        reporter: takes what happens.
    """

    def __init__(
        self,
        state: RunState,
        settings: Settings,
        references: ReferenceMaker,
        *,
        policy: str | None,
        judges: int,
        rate: float | None,
        reporter: Reporter,
    ) -> None:
        self._state = state
        self._settings = settings
        self._references = references
        self._policy = policy
        self._judges = judges
        self._rate = None if rate is None else rate / judges
        self._reporter = reporter

    def run(self, stop: Flag) -> None:
        """Judge all images that have no row; return when all have one, or soon after `stop` is set.

        Raises:
            ExtraMissing: Ray is not installed.
            BackfillError: Ray fails; the message has its reason.
            BackfillUnreadable: the state cannot be written.
        """
        with ray_cluster(lambda reason: BackfillError(f"Ray failed: {reason}; what is done is kept")) as ray:
            while not stop.is_set():
                items = self._next_items()
                if not items:
                    return
                self._judge(ray, items, stop)

    def _next_items(self) -> list[Item]:
        """Return the next images; those of an interrupted run come first, with the same events."""
        items = [item for bulk in self._state.sent() for item in bulk]
        while len(items) < DATASET_IMAGES_MAX and (waiting := self._state.waiting(BATCH_IMAGES)):
            chosen, refused, _ = plan_bulk(waiting, self._references)
            if recorded := self._state.record(refused):
                self._reporter.done(recorded)
            if chosen:
                items += self._state.begin_bulk(chosen)
        return items

    def _judge(self, ray: Any, items: list[Item], stop: Flag) -> None:
        pyarrow, _ = load_arrow()
        blocks = [
            pyarrow.table(to_batch(items[at : at + BATCH_IMAGES]))
            for at in range(0, len(items), BATCH_IMAGES)
        ]
        # Each judge uses its share of the cores and, where there are some, one GPU.
        resources = ray.cluster_resources()
        judged = ray.data.from_arrow(blocks).map_batches(
            RowJudge,
            fn_constructor_args=(self._settings, self._policy, self._rate),
            batch_size=BATCH_IMAGES,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=self._judges),
            num_cpus=max(1.0, resources.get("CPU", 1.0) / self._judges - 1.0),
            num_gpus=1.0 if resources.get("GPU") and self._settings.device != "cpu" else 0.0,
        )
        for batch in judged.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            self._reporter.done(self._state.record(from_batch(batch.to_pydict())))
            if stop.is_set():
                return
