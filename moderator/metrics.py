"""The means to declare metrics. The metrics themselves are declared beside the code that they measure.

Names, units and labels are a contract with dashboards and alert rules. Label values come from code and from
policy files, never from an event, so the number of series is bounded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from moderator.errors import ModeratorError

Kind = Literal["counter", "gauge", "histogram"]

#: The `error` label of unforeseen errors.
UNEXPECTED = "Unexpected"


@dataclass(frozen=True)
class MetricRow:
    """One metric as `/metrics` shows it; a histogram also has `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets."""

    def counter(self, registry: CollectorRegistry | None) -> Counter:
        """Return the counter, registered unless `registry` is None."""
        return Counter(self.name, self.help, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """Return the gauge, registered."""
        return Gauge(self.name, self.help, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        """Return the histogram, registered."""
        return Histogram(self.name, self.help, self.labels, registry=registry, buckets=self.buckets)

    def family(self) -> CounterMetricFamily | GaugeMetricFamily:
        """Return the metric without samples, for a collector that reads its values at each scrape."""
        family = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        return family(self.name, self.help, labels=self.labels)


FAILURES = MetricRow(
    "moderation_failures_total",
    "counter",
    ("stage", "error"),
    "Failures by stage and type of error, retried ones included.",
)


class FailureCounter:
    """Counts failures. Each error of this project starts at 0, so that the first failure shows as an increase."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._failures = FAILURES.counter(registry)
        for error in _subclasses(ModeratorError):
            self._failures.labels(error.stage, error.__name__)

    def count(self, error: BaseException) -> None:
        """Count a failure under its stage and type; errors that are not ours share one label."""
        if isinstance(error, ModeratorError):
            self._failures.labels(error.stage, type(error).__name__).inc()
        else:
            self._failures.labels(ModeratorError.stage, UNEXPECTED).inc()


def _subclasses(error: type[ModeratorError]) -> Iterator[type[ModeratorError]]:
    for subclass in error.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
