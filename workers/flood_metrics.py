"""Metrics of the flood breaker."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry

from moderator.metrics import MetricRow

FLOOD_BREAKER_OPEN = MetricRow(
    "moderation_flood_breaker_open",
    "gauge",
    ("policy", "category"),
    "1 while blocks of the category are diverted to review, because it blocks far more than it usually does.",
)
FLOOD_DIVERTED = MetricRow(
    "moderation_flood_diverted_total",
    "counter",
    ("policy", "category"),
    "Blocks that became reviews because the flood breaker of the category was open.",
)
ROWS = (FLOOD_BREAKER_OPEN, FLOOD_DIVERTED)


class FloodMetrics:
    """Metrics of the flood breaker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = FLOOD_BREAKER_OPEN.gauge(registry)
        self._diverted = FLOOD_DIVERTED.counter(registry)

    def show(self, floods: Iterable[tuple[str, str, bool]]) -> None:
        """Show the state of the breakers: policy, category, and whether it is open."""
        for policy, category, is_open in floods:
            self._open.labels(policy, category).set(is_open)
            self._diverted.labels(policy, category)

    def count_diverted(self, policy: str, category: str) -> None:
        """Count a verdict that was diverted."""
        self._diverted.labels(policy, category).inc()
