"""Metrics of policies: which versions are loaded, how they score, where shadows disagree."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry

from moderator.metrics import MetricRow
from moderator.verdicts import Verdict

Role = Literal["active", "shadow", "canary"]

CATEGORY_SCORE = MetricRow(
    "moderation_category_score",
    "histogram",
    ("policy", "category"),
    "Scores of the deciding policy version.",
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
SHADOW_DISAGREEMENTS = MetricRow(
    "moderation_shadow_disagreements_total",
    "counter",
    ("policy", "version"),
    "Verdicts on which a shadow version would have decided otherwise.",
)
SHADOW_FAILURES = MetricRow(
    "moderation_shadow_failures_total",
    "counter",
    ("policy", "version", "error"),
    "Verdicts beside which a shadow version could not judge, by type of error; the verdicts stand.",
)
SECOND_OPINIONS = MetricRow(
    "moderation_second_opinions_total",
    "counter",
    ("policy", "outcome"),
    "Images in review whose policy asks for a second opinion, by what came of it: cleared, blocked, kept in review, "
    "not-asked (share used up, or too many wait) or failed.",
)
POLICY_INFO = MetricRow(
    "moderation_policy_info",
    "gauge",
    ("policy", "version", "digest", "role"),
    "1 for each policy version that is loaded; role is active, shadow or canary.",
)
FOREIGN_ENCODER = MetricRow(
    "moderation_policy_foreign_encoder",
    "gauge",
    ("policy", "version"),
    "1 for each policy version that a pointer names and whose thresholds were measured on other encoders than the "
    "worker's; it does not decide, and the version before it stays in force.",
)
ROWS = (
    CATEGORY_SCORE,
    SECOND_OPINIONS,
    SHADOW_DISAGREEMENTS,
    SHADOW_FAILURES,
    POLICY_INFO,
    FOREIGN_ENCODER,
)


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy version that the worker scores with."""

    name: str
    version: int
    digest: str
    role: Role


class PolicyMetrics:
    """Metrics of the loaded versions and of what they decide."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._loaded: Set[LoadedPolicy] = frozenset()
        self._foreign: Set[tuple[str, int]] = frozenset()
        self._category_score = CATEGORY_SCORE.histogram(registry)
        self._second_opinions = SECOND_OPINIONS.counter(registry)
        self._shadow_disagreements = SHADOW_DISAGREEMENTS.counter(registry)
        self._shadow_failures = SHADOW_FAILURES.counter(registry)
        self._policy_info = POLICY_INFO.gauge(registry)
        self._foreign_encoder = FOREIGN_ENCODER.gauge(registry)

    def count_verdict(self, policy: str, verdict: Verdict) -> None:
        """Count a verdict's scores, and its shadows that disagree or fail, under the name of its policy."""
        for name, category in verdict.categories.items():
            self._category_score.labels(policy, name).observe(category.score)
        for shadow in verdict.shadow:
            if shadow.error is not None:
                self._shadow_failures.labels(policy, str(shadow.version), shadow.error.type).inc()
            elif shadow.decision != verdict.decision:
                self._shadow_disagreements.labels(policy, str(shadow.version)).inc()

    def count_opinion(self, policy: str, outcome: str) -> None:
        """Count what came of a second opinion."""
        self._second_opinions.labels(policy, outcome).inc()

    def show(self, loaded: Set[LoadedPolicy]) -> None:
        """Replace the series of `moderation_policy_info`. Called from one thread, whenever the pointer changes.

        New series are added before old ones are removed, so that a scrape in between sees no gap.
        """
        for policy in loaded:
            self._policy_info.labels(*_labels(policy)).set(1)
            if policy.role == "shadow":
                self._shadow_disagreements.labels(policy.name, str(policy.version))
        for policy in self._loaded - loaded:
            self._policy_info.remove(*_labels(policy))
        self._loaded = loaded

    def show_foreign(self, versions: Set[tuple[str, int]]) -> None:
        """Replace the series of `moderation_policy_foreign_encoder`, by name and version. Otherwise as `show`."""
        for name, version in versions:
            self._foreign_encoder.labels(name, str(version)).set(1)
        for name, version in self._foreign - versions:
            self._foreign_encoder.remove(name, str(version))
        self._foreign = versions


def _labels(policy: LoadedPolicy) -> tuple[str, str, str, str]:
    return policy.name, str(policy.version), policy.digest[:12], policy.role
