"""What is measured of deliveries: how many were made, and how far each consumer of the outbox is behind."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from moderator.queue.outbox import ConsumerLag

#: What may become of a delivery at a try.
RESULTS = ("delivered", "failed", "dead")

#: Name, type, labels and meaning of each metric here.
ROWS = (
    (
        "moderation_deliveries_total",
        "counter",
        ("consumer", "result"),
        "Tries to give a verdict to a consumer of the outbox, by result: delivered, failed (tried again) or dead.",
    ),
    (
        "moderation_outbox_waiting",
        "gauge",
        ("consumer",),
        "Verdicts that wait for a consumer of the outbox, those between two tries included.",
    ),
    (
        "moderation_outbox_oldest_age_seconds",
        "gauge",
        ("consumer",),
        "Seconds since the oldest of them was published; 0 if there is none.",
    ),
    (
        "moderation_outbox_missed_total",
        "counter",
        ("consumer",),
        "Verdicts that were not kept for a consumer because as many as MODERATOR_OUTBOX_LIMIT waited for it.",
    ),
)


class DeliveryMetrics:
    """Counts deliveries.

    Args:
        registry: where the counter is shown.
        consumers: whose series start at 0.
        count_failure: counts an error by its type.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        consumers: Iterable[str],
        count_failure: Callable[[BaseException], None],
    ) -> None:
        self.count_failure = count_failure
        name, _, labels, text = ROWS[0]
        self._deliveries = Counter(name, text, labels, registry=registry)
        for consumer in consumers:
            for result in RESULTS:
                self._deliveries.labels(consumer, result)

    def count(self, consumer: str, result: str, deliveries: int) -> None:
        """Count tries that ended alike."""
        self._deliveries.labels(consumer, result).inc(deliveries)


class OutboxCollector(Collector):
    """How far consumers are behind, read at every scrape; where it cannot be read, nothing is shown."""

    def __init__(self, read: Callable[[], Iterable[ConsumerLag]]) -> None:
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """Names alone, so that registering does not need Redis."""
        return lag_metrics(())

    def collect(self) -> Iterator[Metric]:
        """Read once."""
        try:
            lags = tuple(self._read())
        except Exception:  # Redis, say: a stale figure would look healthy
            return
        yield from lag_metrics(lags)


def lag_metrics(lags: Iterable[ConsumerLag]) -> Iterator[Metric]:
    """Yield the metrics of how far consumers are behind."""
    waiting, age, missed = (
        (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(name, text, labels=labels)
        for name, kind, labels, text in ROWS[1:]
    )
    for lag in lags:
        waiting.add_metric([lag.consumer], lag.waiting)
        age.add_metric([lag.consumer], lag.oldest_age)
        missed.add_metric([lag.consumer], lag.missed)
    yield from (waiting, age, missed)
