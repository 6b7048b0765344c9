"""The metric of deliveries: their number by outcome."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry

from moderator.metrics import MetricRow

#: The outcomes of a delivery attempt.
RESULTS = ("delivered", "failed", "dead")

DELIVERIES = MetricRow(
    "moderation_deliveries_total",
    "counter",
    ("consumer", "result"),
    "Tries to give a verdict to a consumer of the outbox, by result: delivered, failed (tried again) or dead.",
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
        self._deliveries = DELIVERIES.counter(registry)
        for consumer in consumers:
            for result in RESULTS:
                self._deliveries.labels(consumer, result)

    def count(self, consumer: str, result: str, deliveries: int) -> None:
        """Count attempts with the same result."""
        self._deliveries.labels(consumer, result).inc(deliveries)
