"""The metrics of the outbox: how far each consumer is behind."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from moderator.metrics import MetricRow
from moderator.queue.outbox import ConsumerLag

ROWS = (
    MetricRow(
        "moderation_outbox_waiting",
        "gauge",
        ("consumer",),
        "Verdicts that wait for a consumer of the outbox, those between two tries included.",
    ),
    MetricRow(
        "moderation_outbox_oldest_age_seconds",
        "gauge",
        ("consumer",),
        "Seconds since the oldest of them was published; 0 if there is none.",
    ),
    MetricRow(
        "moderation_outbox_missed_total",
        "counter",
        ("consumer",),
        "Verdicts that were not kept for a consumer because as many as MODERATOR_OUTBOX_LIMIT waited for it.",
    ),
)


class OutboxCollector(Collector):
    """How far consumers are behind, read at every scrape; left out if it cannot be read."""

    def __init__(self, read: Callable[[], Iterable[ConsumerLag]]) -> None:
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """Yield names alone, so that registering does not need Redis."""
        return lag_metrics(())

    def collect(self) -> Iterator[Metric]:
        """Read the outbox once and yield its metrics."""
        try:
            lags = tuple(self._read())
        except Exception:  # of Redis, say: a stale figure would look healthy
            return
        yield from lag_metrics(lags)


def lag_metrics(lags: Iterable[ConsumerLag]) -> Iterator[Metric]:
    """Yield the metrics of how far consumers are behind."""
    waiting, age, missed = (row.family() for row in ROWS)
    for lag in lags:
        waiting.add_metric([lag.consumer], lag.waiting)
        age.add_metric([lag.consumer], lag.oldest_age)
        missed.add_metric([lag.consumer], lag.missed)
    yield from (waiting, age, missed)
