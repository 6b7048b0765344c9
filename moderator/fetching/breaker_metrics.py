"""Metric of open breakers. It loads no decoder, because processes without images export it as well."""

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
    """Metric of the number of open breakers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = OPEN_BREAKERS.gauge(registry)

    def watch(self, kind: Literal["image", "webhook"], count: Callable[[], int]) -> None:
        """Call `count` at every scrape."""
        self._open.labels(kind).set_function(count)
