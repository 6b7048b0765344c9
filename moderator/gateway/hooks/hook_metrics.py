"""The metrics of hooks: what was reported, and where a hook answered without a judgement."""

from prometheus_client import CollectorRegistry

from moderator.gateway.hooks.outcome import Failure
from moderator.gateway.hooks.tally import BECAME, Tally
from moderator.metrics import MetricRow
from moderator.settings import HOOKS, FailurePolicy

HOOK_REPORTS = MetricRow(
    "moderation_hook_reports_total",
    "counter",
    ("hook", "outcome"),
    "What stores and upload servers reported, by what became of it: accepted, known (reported before), superseded (by "
    "a later write of the same object), ignored (no new object) or refused.",
)
HOOK_FAILURES = MetricRow(
    "moderation_hook_failures_total",
    "counter",
    ("hook", "failure", "answer"),
    "Answers without a judgement, by why there is none (error, late, full, away) and what MODERATOR_HOOK_FAILURE "
    "answered: hold, allow or reject.",
)
ROWS = (HOOK_REPORTS, HOOK_FAILURES)


class HookMetrics:
    """Counts reports and failures; each series starts at 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reports = HOOK_REPORTS.counter(registry)
        self._failures = HOOK_FAILURES.counter(registry)
        for hook in HOOKS:
            for became in BECAME:
                self._reports.labels(hook, became)
            for failure in Failure:
                for answer in FailurePolicy:
                    self._failures.labels(hook, failure, answer)

    def count_reports(self, hook: str, tally: Tally) -> None:
        """Count what became of the objects of a notice."""
        for became, count in tally.counts.items():
            self._reports.labels(hook, became).inc(count)

    def count_failure(self, hook: str, failure: Failure, answer: FailurePolicy) -> None:
        """Count an answer without a judgement."""
        self._failures.labels(hook, failure, answer).inc()
