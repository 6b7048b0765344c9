"""All metrics of the worker: its own and those of its parts."""

import logging
from collections.abc import Callable, Iterable
from typing import Literal

from prometheus_client import CollectorRegistry

from moderator.archive import archive_metrics
from moderator.delivery import delivery_metrics, object_metrics
from moderator.errors import ModeratorError
from moderator.fetching.breaker_metrics import OPEN_BREAKERS, BreakerMetrics
from moderator.images.decoder_metrics import DECODER_RESTARTS, DecoderMetrics
from moderator.metrics import FAILURES, FailureCounter, MetricRow
from moderator.policies import policy_metrics
from moderator.policies.policy_metrics import LoadedPolicy, PolicyMetrics
from moderator.queue import outbox_metrics, queue_metrics
from moderator.queue.queue_metrics import EMBEDDING_CACHE, REDELIVERIES, STREAM_LIMIT, QueueMetrics
from moderator.verdicts import Decision, Verdict

logger = logging.getLogger(__name__)

Stage = Literal["queue", "fetch", "decode", "signals", "batch_wait", "embed", "score", "opinion", "publish"]

STAGES: tuple[Stage, ...] = (
    "queue",
    "fetch",
    "decode",
    "signals",
    "batch_wait",
    "embed",
    "score",
    "opinion",
    "publish",
)
DURATION_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

#: The `policy` label of an event that no policy judged.
UNKNOWN = "unknown"

EVENTS = MetricRow(
    "moderation_events_total",
    "counter",
    ("policy", "decision"),
    "Verdicts published, by policy and decision.",
)
DURATION = MetricRow(
    "moderation_duration_seconds",
    "histogram",
    (),
    "Seconds from event accepted to verdict published.",
    buckets=DURATION_BUCKETS_SECONDS,
)
STAGE_DURATION = MetricRow(
    "moderation_stage_duration_seconds",
    "histogram",
    ("stage",),
    "Seconds that an event spent in a stage.",
    buckets=DURATION_BUCKETS_SECONDS,
)
BATCH_SIZE = MetricRow(
    "moderation_batch_size",
    "histogram",
    (),
    "Images in one forward pass of the image tower.",
    buckets=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
)
MODEL_INFO = MetricRow(
    "moderation_model_info",
    "gauge",
    ("model", "revision", "preprocessing", "device", "dtype"),
    "1 for the encoder in use.",
)
READY = MetricRow(
    "moderation_ready",
    "gauge",
    (),
    "1 while the worker takes events: Redis answers, model and policies are loaded.",
)
MODEL_BROKEN = MetricRow(
    "moderation_model_broken",
    "gauge",
    (),
    "1 while the model fails on what it could answer before; the worker then takes no events.",
)


class Metrics:
    """The worker's counters, gauges and histograms. One per process; all its threads share it.

    Series with labels known in advance start at 0, so that the first failure shows as an increase.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.events = EVENTS.counter(registry)
        self.duration = DURATION.histogram(registry)
        self.stage_duration = STAGE_DURATION.histogram(registry)
        for stage in STAGES:
            self.stage_duration.labels(stage)
        self.batch_size = BATCH_SIZE.histogram(registry)
        self.model_info = MODEL_INFO.gauge(registry)
        self.ready = READY.gauge(registry)
        self.model_broken = MODEL_BROKEN.gauge(registry)
        self._policies = PolicyMetrics(registry)
        self.count_opinion = self._policies.count_opinion
        self.show_foreign_policies = self._policies.show_foreign
        queue, breakers = QueueMetrics(registry), BreakerMetrics(registry)
        self.redeliveries, self.stream_limit = queue.redeliveries, queue.stream_limit
        self.count_recall = queue.count_recall
        self.watch_breakers = breakers.watch
        self.count_decoder_loss = DecoderMetrics(registry).count_loss
        self.count_failure = FailureCounter(registry).count

    def count_verdict(self, verdict: Verdict, duration: float) -> None:
        """Count one published verdict; `duration` is in seconds from event accepted to verdict published."""
        policy = verdict.policy.name if verdict.policy else UNKNOWN
        self.events.labels(policy, verdict.decision.value).inc()
        self.duration.observe(duration)
        for stage in STAGES:
            if stage in verdict.timings_ms:
                self.stage_duration.labels(stage).observe(verdict.timings_ms[stage] / 1000)
        self._policies.count_verdict(policy, verdict)

    def show_policies(self, policies: Iterable[LoadedPolicy]) -> None:
        """Show the loaded versions (see `PolicyMetrics.show`); each decision of each policy starts at 0."""
        loaded = frozenset(policies)
        for policy in loaded:
            for decision in Decision:
                self.events.labels(policy.name, decision.value)
        self._policies.show(loaded)

    def watch_readiness(self, check: Callable[[], bool]) -> None:
        """Ask `check` at every scrape; a check that raises means not ready."""

        def value() -> float:
            try:
                return float(check())
            except ModeratorError:  # `/ready` reports the reason
                return 0.0
            except Exception:
                logger.exception("the readiness check failed")
                return 0.0

        self.ready.set_function(value)


def describe() -> list[MetricRow]:
    """Return all metrics that a worker shows, in the order of the page about them."""
    return [
        *(EVENTS, DURATION, STAGE_DURATION, BATCH_SIZE),
        *(FAILURES, REDELIVERIES, DECODER_RESTARTS, EMBEDDING_CACHE),
        *policy_metrics.ROWS,
        *(MODEL_INFO, READY, MODEL_BROKEN, OPEN_BREAKERS, STREAM_LIMIT),
        *(*queue_metrics.BACKLOG_ROWS, *queue_metrics.READER_ROWS),
        *(delivery_metrics.DELIVERIES, *outbox_metrics.ROWS),
        *archive_metrics.ROWS,
        object_metrics.OBJECT_ACTIONS,
    ]
