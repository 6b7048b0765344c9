"""The metrics of the gateway: its requests, and what they hold."""

from collections.abc import Callable
from functools import lru_cache

from prometheus_client import CollectorRegistry

from moderator.metrics import MetricRow

REQUESTS = MetricRow(
    "moderation_http_requests_total",
    "counter",
    ("method", "route", "status"),
    "Requests answered, by method, route (`none`: no path of the gateway) and HTTP status.",
)
DURATION = MetricRow(
    "moderation_http_request_duration_seconds",
    "histogram",
    ("route",),
    "Seconds from a request's headers to the end of its answer; of `?wait=` as well, not of streams.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
BODY_BYTES = MetricRow(
    "moderation_http_body_bytes",
    "gauge",
    (),
    "Bytes of request bodies held now; at MODERATOR_GATEWAY_BODY_BYTES further ones are refused.",
)
STREAMS = MetricRow("moderation_http_streams", "gauge", (), "Streams of verdicts open now.")

ROWS = (REQUESTS, DURATION, BODY_BYTES, STREAMS)

#: The `route` label of requests for no path of the gateway, and the `method` label of unusual methods.
NO_ROUTE, OTHER_METHOD = "none", "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class GatewayMetrics:
    """The counts of one gateway."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = REQUESTS.counter(registry)
        self._duration = DURATION.histogram(registry)
        self._body_bytes = BODY_BYTES.gauge(registry)
        self._streams = STREAMS.gauge(registry)
        # Both label sets are bounded: methods, routes and statuses are.
        self._requests_of = lru_cache(self._requests.labels)
        self._duration_of = lru_cache(self._duration.labels)

    def watch(self, body_bytes: Callable[[], int], streams: Callable[[], int]) -> None:
        """Ask for the gauges at every scrape."""
        self._body_bytes.set_function(body_bytes)
        self._streams.set_function(streams)

    def count(self, method: str, route: str | None, status: int, seconds: float, streamed: bool) -> None:
        """Count an answered request."""
        method = method if method in _METHODS else OTHER_METHOD
        self._requests_of(method, route or NO_ROUTE, status).inc()
        if not streamed:
            self._duration_of(route or NO_ROUTE).observe(seconds)
