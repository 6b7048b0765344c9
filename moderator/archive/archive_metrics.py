"""The metrics of the process that writes the archive."""

from collections.abc import Sequence

from prometheus_client.registry import Collector

from moderator.metrics import MetricRow

#: What becomes of a verdict: it is new, was there already, or is about something that has been erased.
RESULTS = ("archived", "repeated", "erased")

ARCHIVED = MetricRow(
    "moderation_archive_verdicts_total",
    "counter",
    ("result",),
    "Verdicts that the archive took: archived, repeated (it had them) or erased (it must not have them).",
)
UPKEEP_FAILURES = MetricRow(
    "moderation_archive_upkeep_failures_total",
    "counter",
    (),
    "Failures to move embeddings to segments or to delete verdicts after their time; the log says why.",
)
ROWS = (ARCHIVED, UPKEEP_FAILURES)


class ArchiveMetrics:
    """Counts what the archive takes. The counters begin at 0."""

    def __init__(self) -> None:
        self._verdicts = ARCHIVED.counter(None)
        self.upkeep_failures = UPKEEP_FAILURES.counter(None)
        for result in RESULTS:
            self._verdicts.labels(result)

    @property
    def collectors(self) -> Sequence[Collector]:
        """Return the counters, for the registry of the process."""
        return self._verdicts, self.upkeep_failures

    def count(self, *amounts: int) -> None:
        """Count verdicts, for each of `RESULTS`."""
        for result, amount in zip(RESULTS, amounts, strict=True):
            self._verdicts.labels(result).inc(amount)
