"""The metric of decoding processes."""

from prometheus_client import CollectorRegistry

from moderator.images.process import REASONS, Reason
from moderator.metrics import MetricRow

DECODER_RESTARTS = MetricRow(
    "moderation_decoder_restarts_total",
    "counter",
    ("reason",),
    "Decoding processes replaced: dead over an image (crash), killed from outside, as when memory runs out "
    "(killed), over the time limit (timeout), or with a senseless answer (reply).",
)


class DecoderMetrics:
    """Counts decoding processes that had to be replaced."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._restarts = DECODER_RESTARTS.counter(registry)
        for reason in REASONS:
            self._restarts.labels(reason)

    def count_loss(self, reason: Reason) -> None:
        """Count a process that was replaced for a reason."""
        self._restarts.labels(reason).inc()
