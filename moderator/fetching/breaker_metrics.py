"""The metric of hosts that are left alone. It loads no decoder: processes without images show it as well."""

from collections.abc import Callable
from typing import Literal

from prometheus_client import CollectorRegistry

from moderator.metrics import MetricRow

OPEN_BREAKERS = MetricRow(
    "moderation_breaker_open",
    "gauge",
    ("kind",),
    "Hosts that are left alone for now because they failed several times in a row; kind is image or webhook.",
)


class BreakerMetrics:
    """Shows how many breakers are open."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = OPEN_BREAKERS.gauge(registry)

    def watch(self, kind: Literal["image", "webhook"], count: Callable[[], int]) -> None:
        """Ask `count` at every scrape."""
        self._open.labels(kind).set_function(count)
