"""The metrics of the queue: its backlog, the readers of the verdict stream, and what workers count of both."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moderator.metrics import MetricRow
from moderator.queue.outbox import ConsumerLag
from moderator.queue.outbox_metrics import lag_metrics
from moderator.queue.stream_state import StreamState

logger = logging.getLogger(__name__)

REDELIVERIES = MetricRow(
    "moderation_redeliveries_total",
    "counter",
    (),
    "Events given out again because no verdict came in time.",
)
EMBEDDING_CACHE = MetricRow(
    "moderation_embedding_cache_total",
    "counter",
    ("result",),
    "Images looked up among the embeddings that are kept (MODERATOR_EMBEDDING_CACHE), by result: hit, miss or error.",
)
STREAM_LIMIT = MetricRow(
    "moderation_stream_limit",
    "gauge",
    (),
    "Verdicts that the stream keeps at most, whoever is behind (MODERATOR_STREAM_LIMIT).",
)
BACKLOG_ROWS = (
    MetricRow(
        "moderation_queue_depth",
        "gauge",
        ("queue",),
        "Events that wait for a worker, by queue.",
    ),
    MetricRow(
        "moderation_oldest_event_age_seconds",
        "gauge",
        ("queue",),
        "Age of the oldest event that waits for a worker, 0 if there is none.",
    ),
    MetricRow("moderation_dead_letters", "gauge", (), "Dead letters that nobody has replayed or dropped."),
    MetricRow(
        "moderation_pending_events",
        "gauge",
        (),
        "Accepted events without a verdict; at MODERATOR_QUEUE_LIMIT the queue takes no more.",
    ),
    MetricRow(
        "moderation_pending_bytes",
        "gauge",
        (),
        "Bytes that these events take; at MODERATOR_QUEUE_BYTES the queue takes no more.",
    ),
    MetricRow(
        "moderation_refusals_total",
        "counter",
        ("queue",),
        "Messages that were refused because the queue was full.",
    ),
    MetricRow(
        "moderation_queue_read_failures_total",
        "counter",
        (),
        "Scrapes at which the backlog could not be read from Redis.",
    ),
)
READER_ROWS = (
    MetricRow("moderation_stream_length", "gauge", (), "Verdicts in the stream."),
    MetricRow(
        "moderation_stream_lag",
        "gauge",
        ("group",),
        "Verdicts in the stream that a group of readers was not given yet; of the 50 groups most behind.",
    ),
    MetricRow(
        "moderation_stream_pending",
        "gauge",
        ("group",),
        "Verdicts that a reader of the group was given and has not finished.",
    ),
    MetricRow(
        "moderation_stream_missed",
        "gauge",
        ("group",),
        "Verdicts that left the stream before the group was given them; 0 once it reads on.",
    ),
    MetricRow(
        "moderation_stream_oldest_age_seconds",
        "gauge",
        ("group",),
        "Age of the oldest verdict that the group has not finished, given or not; 0 if there is none.",
    ),
    MetricRow(
        "moderation_webhooks_disabled",
        "gauge",
        (),
        "Webhooks that answered 410 Gone and get no more deliveries until somebody enables them.",
    ),
)


@dataclass(frozen=True)
class QueueState:
    """A snapshot of the backlog. `oldest_age` is in seconds, 0 for an empty queue.

    `pending` events have no verdict yet, waiting or in flight. `refusals` are all-time totals by queue.
    """

    depth: Mapping[str, int]
    oldest_age: Mapping[str, float]
    dead_letters: int
    pending: int = 0
    pending_bytes: int = 0
    refusals: Mapping[str, int] = field(default_factory=dict)
    outgoing: "OutgoingState | None" = None


@dataclass(frozen=True)
class OutgoingState:
    """A snapshot of how verdicts reach their consumers.

    `stream` has only the groups of readers to show: their names become labels, so the caller limits their number.
    """

    stream: StreamState
    disabled_webhooks: int
    outbox: tuple[ConsumerLag, ...] = ()


class QueueMetrics:
    """The counts that a process keeps of its work on the queue."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.redeliveries = REDELIVERIES.counter(registry)
        self.stream_limit = STREAM_LIMIT.gauge(registry)
        self._recalls = EMBEDDING_CACHE.counter(registry)
        for result in ("hit", "miss", "error"):
            self._recalls.labels(result)

    def count_recall(self, result: str) -> None:
        """Count a lookup in the embedding cache: hit, miss or error."""
        self._recalls.labels(result).inc()


class QueueCollector(Collector):
    """Backlog gauges, read at every scrape.

    If `read` raises, the scrape still succeeds: the gauges are left out (a stale backlog would look healthy)
    and the counter of failed reads increases.
    """

    def __init__(self, read: Callable[[], QueueState]) -> None:
        self._read = read
        self._failures = 0

    def describe(self) -> Iterator[Metric]:
        """Yield names alone, so that registering does not need Redis."""
        yield from (row.family() for row in (*BACKLOG_ROWS, *READER_ROWS))
        yield from lag_metrics(())

    def collect(self) -> Iterator[Metric]:
        """Read the backlog once and yield its metrics."""
        *gauges, refusals, failures = (row.family() for row in BACKLOG_ROWS)
        outgoing = [row.family() for row in READER_ROWS]
        try:
            state = self._read()
        except Exception:
            self._failures += 1
            logger.exception("the backlog cannot be read; its gauges are missing until Redis answers again")
        else:
            depth, age, *others = gauges
            for queue, events in state.depth.items():
                depth.add_metric([queue], events)
            for queue, seconds in state.oldest_age.items():
                age.add_metric([queue], seconds)
            for gauge, value in zip(
                others, (state.dead_letters, state.pending, state.pending_bytes), strict=True
            ):
                gauge.add_metric([], value)
            for queue, count in state.refusals.items():
                refusals.add_metric([queue], count)
            if state.outgoing is not None:
                _add_outgoing(outgoing, state.outgoing)
            yield from (*gauges, refusals, *outgoing)
            yield from lag_metrics(state.outgoing.outbox if state.outgoing is not None else ())
        failures.add_metric([], self._failures)
        yield failures


def _add_outgoing(families: Sequence[GaugeMetricFamily | CounterMetricFamily], state: OutgoingState) -> None:
    length, lag, pending, missed, age, disabled = families
    length.add_metric([], state.stream.length)
    for group in state.stream.groups:
        if group.lag is not None:
            lag.add_metric([group.name], group.lag)
        pending.add_metric([group.name], group.pending)
        missed.add_metric([group.name], group.missed)
        age.add_metric([group.name], group.oldest_age)
    disabled.add_metric([], state.disabled_webhooks)
