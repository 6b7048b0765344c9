"""What shadow and canary versions of a policy did, from published verdicts. Pure.

A shadow is compared image by image: the active version decided, and the shadow's decision stands in the same verdict. A
canary decides for other images than the active version, so its rates are compared in the hours in which both decided.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from moderator.verdicts import Decision

#: The decisions of a version that could judge, the mildest first.
DECISIONS = (Decision.ALLOW.value, Decision.REVIEW.value, Decision.BLOCK.value)
ERROR = Decision.ERROR.value
#: Disagreements kept of each kind, the newest ones, for people to look at.
SAMPLES_MAX = 12
#: Different reasons of failures that are counted apart, and characters kept of each.
REASONS_MAX = 50
REASON_TEXT_MAX = 200
OTHER_REASONS = ("other", "further reasons")

#: A decision before and after, or of a category its level.
Change = tuple[str, str]


@dataclass(frozen=True)
class Disagreement:
    """An image on which a shadow decides otherwise."""

    event_id: str
    source: str
    decided_at: str
    before: str
    after: str
    category: str
    """The one that changes most."""
    score_before: float | None
    score_after: float | None
    image_sha256: str | None
    image_key: str | None
    image_version: str | None


@dataclass
class ShadowCounts:
    """What a shadow version did beside the active one."""

    version: int
    decisions: Counter[Change] = field(default_factory=Counter)
    """Images that it judged, by decision of the active version and its own."""
    categories: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """The same by category. A category that a version does not have allows."""
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Images that it could not judge, by type of error and message."""
    beside_others: int = 0
    """Images that another version than the active one decided: they count nowhere else."""
    opinions: int = 0
    """Of the images that it judged, those on which the active version had a second opinion. A shadow asks for none."""
    samples: dict[Change, list[Disagreement]] = field(default_factory=dict)

    @property
    def judged(self) -> int:
        """Images that it judged."""
        return self.decisions.total()

    @property
    def failed(self) -> int:
        """Images that it could not judge."""
        return self.failures.total()

    @property
    def changed(self) -> int:
        """Images that it decides otherwise."""
        return sum(count for (before, after), count in self.decisions.items() if before != after)


@dataclass
class ArmCounts:
    """What one version decided in the hours in which both decided."""

    version: int
    decisions: Counter[str] = field(default_factory=Counter)
    """`error` among them."""
    categories: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Images by category and its level."""
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def images(self) -> int:
        """Images that it decided, or should have."""
        return self.decisions.total()


@dataclass
class CanaryCounts:
    """A canary and the active version, in the hours in which both decided."""

    canary: ArmCounts
    active: ArmCounts
    hours: int
    alone: int
    """Images of either version in other hours, which count nowhere."""


@dataclass
class RolloutCounts:
    """Counts verdicts as they come, in any order; memory is bounded by versions, categories and hours.

    Args:
        policy: name of the policy.
        active: its active version.
        shadows: versions to look at.
        canary: the canary version; None: there is none.
    """

    policy: str
    active: int
    shadows: Sequence[int]
    canary: int | None
    verdicts: int = 0
    """Verdicts of the policy, without those of people."""
    first: str | None = None
    last: str | None = None

    def __post_init__(self) -> None:
        self.shadow_counts = {version: ShadowCounts(version) for version in self.shadows}
        self._arms: dict[tuple[str, int], ArmCounts] = {}

    def add(self, verdict: Mapping[str, Any]) -> None:
        """Count a verdict, as its JSON value."""
        facts = verdict.get("policy") or {}
        # A later decision, of a person, says nothing of a version.
        if facts.get("name") != self.policy or verdict.get("revises") is not None:
            return
        at = str(verdict["created_at"])
        self.verdicts += 1
        self.first = min(at, self.first or at)
        self.last = max(at, self.last or at)
        version = facts.get("version")
        decision = judged_decision(verdict)
        if self.canary is not None and version in (self.active, self.canary):
            self._count_arm(version, decision, at[:13], verdict)
        if decision == ERROR:
            return
        for shadow in verdict.get("shadow") or ():
            counts = self.shadow_counts.get(shadow["version"])
            if counts is None:
                continue
            if version != self.active:
                counts.beside_others += 1
            else:
                _count_shadow(counts, decision, verdict, shadow)

    def canary_counts(self) -> CanaryCounts | None:
        """Return the counts of canary and active version in the hours in which both decided."""
        if self.canary is None:
            return None
        hours = {
            version: {h for h, v in self._arms if v == version} for version in (self.active, self.canary)
        }
        both = hours[self.active] & hours[self.canary]
        arms = {}
        for version in (self.active, self.canary):
            total = ArmCounts(version)
            for hour in both:
                arm = self._arms[hour, version]
                total.decisions.update(arm.decisions)
                total.categories.update(arm.categories)
                _add_reasons(total.failures, arm.failures.items())
            arms[version] = total
        alone = sum(arm.images for (hour, _), arm in self._arms.items() if hour not in both)
        return CanaryCounts(arms[self.canary], arms[self.active], len(both), alone)

    def _count_arm(self, version: int, decision: str, hour: str, verdict: Mapping[str, Any]) -> None:
        arm = self._arms.setdefault((hour, version), ArmCounts(version))
        arm.decisions[decision] += 1
        if decision == ERROR:
            error = verdict.get("error") or {}
            _add_reasons(arm.failures, [(_reason(error), 1)])
        for name, category in (verdict.get("categories") or {}).items():
            arm.categories[name, category["decision"]] += 1


def judged_decision(verdict: Mapping[str, Any]) -> str:
    """Return what the policy decided: of a verdict that the flood breaker diverted, the block."""
    return DECISIONS[2] if verdict.get("diverted") is not None else str(verdict["decision"])


def moment_of(verdict: Mapping[str, Any]) -> datetime:
    """Return when a verdict was made."""
    return datetime.fromisoformat(str(verdict["created_at"]))


def _count_shadow(
    counts: ShadowCounts, decision: str, verdict: Mapping[str, Any], shadow: Mapping[str, Any]
) -> None:
    if shadow.get("error") is not None or shadow["decision"] == ERROR:
        _add_reasons(counts.failures, [(_reason(shadow.get("error") or {}), 1)])
        return
    change = decision, shadow["decision"]
    counts.decisions[change] += 1
    counts.opinions += _had_opinion(verdict)
    before, after = verdict.get("categories") or {}, shadow.get("categories") or {}
    moves = []
    for name in {**before, **after}:
        levels = _level(before, name), _level(after, name)
        counts.categories[name, *levels] += 1
        scores = _score(before, name), _score(after, name)
        distance = abs(DECISIONS.index(levels[1]) - DECISIONS.index(levels[0]))
        moves.append((distance, abs((scores[1] or 0.0) - (scores[0] or 0.0)), name, scores))
    if change[0] == change[1]:
        return
    samples = counts.samples.setdefault(change, [])
    at = str(verdict["created_at"])
    if len(samples) == SAMPLES_MAX and at <= samples[-1].decided_at:
        return
    _, _, category, scores = max(moves, key=lambda move: move[:2], default=(0, 0.0, "", (None, None)))
    image = verdict.get("image") or {}
    samples.append(
        Disagreement(
            *(str(verdict["event_id"]), str(verdict["source"]), at, *change, category, *scores),
            *(image.get("sha256"), verdict.get("image_key"), verdict.get("image_version")),
        )
    )
    samples.sort(key=lambda one: one.decided_at, reverse=True)
    del samples[SAMPLES_MAX:]


def _level(categories: Mapping[str, Any], name: str) -> str:
    return categories[name]["decision"] if name in categories else DECISIONS[0]


def _score(categories: Mapping[str, Any], name: str) -> float | None:
    return float(categories[name]["score"]) if name in categories else None


def _had_opinion(verdict: Mapping[str, Any]) -> bool:
    signals = (verdict.get("signals") or {}).values()
    return any(isinstance(one, Mapping) and one.get("outcome") in ("cleared", "blocked") for one in signals)


def _reason(error: Mapping[str, Any]) -> tuple[str, str]:
    return str(error.get("type", "unknown")), str(error.get("message", ""))[:REASON_TEXT_MAX]


def _add_reasons(into: Counter[tuple[str, str]], reasons: Iterable[tuple[tuple[str, str], int]]) -> None:
    """Count reasons; beyond `REASONS_MAX`, new ones count together."""
    for reason, count in reasons:
        into[reason if reason in into or len(into) < REASONS_MAX else OTHER_REASONS] += count
