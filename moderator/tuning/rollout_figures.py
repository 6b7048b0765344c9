"""The figures of a rollout: rates with intervals, tests, and the sentence that ends the report. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from moderator.tuning.evaluation_metrics import Estimate, difference, share
from moderator.tuning.rate_tests import fisher_exact, holm
from moderator.tuning.rollout import (
    DECISIONS,
    ERROR,
    CanaryCounts,
    Change,
    RolloutCounts,
    ShadowCounts,
)

#: Below this, a difference is hardly an accident.
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class ChangeRate:
    """How often a decision, or the level of a category, changes in one direction."""

    category: str | None
    """None: the decision itself."""
    before: str
    after: str
    images: int
    rate: Estimate

    @property
    def stricter(self) -> bool:
        """Whether the shadow is the stricter one."""
        return DECISIONS.index(self.after) > DECISIONS.index(self.before)


@dataclass(frozen=True)
class RateDifference:
    """A rate of the canary against that of the active version."""

    category: str | None
    """None: the decision itself."""
    decision: str
    canary: tuple[int, int]
    """Images with it, and all."""
    active: tuple[int, int]
    difference: Estimate
    chance: float
    """The p-value of Fisher's exact test, adjusted for the number of differences of the report."""


@dataclass(frozen=True)
class ShadowFigures:
    """What a shadow version would change."""

    counts: ShadowCounts
    changed: Estimate
    failed: Estimate
    changes: Sequence[ChangeRate]
    """Of decisions first, then of categories; the most frequent first."""
    sentence: str
    command: str | None


@dataclass(frozen=True)
class CanaryFigures:
    """How a canary differs."""

    counts: CanaryCounts
    percent: float
    differences: Sequence[RateDifference]
    sentence: str
    command: str | None


@dataclass(frozen=True)
class Rollout:
    """The promotion report of a policy."""

    policy: str
    active: int
    origin: str
    """Where the verdicts come from."""
    verdicts: int
    first: str | None
    last: str | None
    shadows: Sequence[ShadowFigures] = ()
    canary: CanaryFigures | None = None
    notes: Sequence[str] = field(default_factory=tuple)


def rollout_of(counts: RolloutCounts, percent: float, origin: str, notes: Sequence[str] = ()) -> Rollout:
    """Return the report of what was counted.

    Args:
        counts: of all verdicts.
        percent: of the events that the canary decides.
        origin: where the verdicts come from.
        notes: what limits the report.
    """
    canary = counts.canary_counts()
    return Rollout(
        counts.policy,
        counts.active,
        origin,
        counts.verdicts,
        counts.first,
        counts.last,
        tuple(_shadow_figures(counts, one) for one in counts.shadow_counts.values()),
        None if canary is None else _canary_figures(counts, canary, percent),
        notes,
    )


def _shadow_figures(rollout: RolloutCounts, counts: ShadowCounts) -> ShadowFigures:
    total = counts.judged
    changes = [
        ChangeRate(None, before, after, images, share(images, total))
        for (before, after), images in counts.decisions.most_common()
        if before != after
    ]
    changes += [
        ChangeRate(name, before, after, images, share(images, total))
        for (name, before, after), images in counts.categories.most_common()
        if before != after
    ]
    reference = f"{rollout.policy}@{counts.version}"
    return ShadowFigures(
        counts,
        share(counts.changed, total),
        share(counts.failed, total + counts.failed),
        changes,
        *_shadow_conclusion(reference, f"{rollout.policy}@{rollout.active}", counts),
    )


def _shadow_conclusion(reference: str, active: str, counts: ShadowCounts) -> tuple[str, str | None]:
    """Return what would change on promotion, and the next command."""
    if not counts.judged and not counts.failed:
        return f"{reference} has judged no image of {active} in this time: wait for events.", None
    parts = []
    if counts.judged:
        rate = share(counts.changed, counts.judged)
        parts.append(
            f"If {reference} were promoted, {interval_text(rate)} of the images would be decided otherwise than by "
            f"{active}{_list_changes(counts.decisions)}."
        )
    if counts.failed:
        parts.append(
            f"{reference} could not judge {counts.failed:,} of {counts.judged + counts.failed:,} images: each would be "
            "an error. See the reasons first."
        )
        return " ".join(parts), f"moderator policy lint {reference}"
    return " ".join(parts), f"moderator policy promote {reference}"


def _list_changes(decisions: Counter[Change]) -> str:
    changes = [(change, count) for change, count in decisions.most_common() if change[0] != change[1]]
    if not changes:
        return ""
    return ": " + ", ".join(f"{count:,} {before} to {after}" for (before, after), count in changes)


def _canary_figures(rollout: RolloutCounts, counts: CanaryCounts, percent: float) -> CanaryFigures:
    canary, active = counts.canary, counts.active
    rows: list[tuple[str | None, str, int, int]] = []
    for decision in (*DECISIONS[1:], ERROR):
        rows.append((None, decision, canary.decisions[decision], active.decisions[decision]))
    names = sorted({name for arm in (canary, active) for name, _ in arm.categories})
    for name in names:
        for decision in DECISIONS[1:]:
            one, other = (arm.categories[name, decision] for arm in (canary, active))
            if one or other:
                rows.append((name, decision, one, other))
    totals = canary.images, active.images
    chances = holm([fisher_exact((one, totals[0]), (other, totals[1])) for *_, one, other in rows])
    differences = [
        RateDifference(
            *(name, decision, (one, totals[0]), (other, totals[1])),
            difference(share(one, totals[0]), share(other, totals[1])),
            chance,
        )
        for (name, decision, one, other), chance in zip(rows, chances, strict=True)
    ]
    sentence, command = _canary_conclusion(rollout.policy, counts, differences)
    beside = rollout.shadow_counts.get(canary.version)
    if beside is not None and beside.failed:  # it says so as a shadow
        command = f"moderator policy lint {rollout.policy}@{canary.version}"
    return CanaryFigures(counts, percent, differences, sentence, command)


def _canary_conclusion(
    policy: str, counts: CanaryCounts, differences: Sequence[RateDifference]
) -> tuple[str, str | None]:
    canary, active = counts.canary, counts.active
    reference = f"{policy}@{canary.version}"
    if not canary.images or not active.images:
        return f"In no hour did both {reference} and version {active.version} decide: wait for events.", None
    found = [
        f"{describe(one)} {one.canary[0] / one.canary[1]:.1%} instead of {one.active[0] / one.active[1]:.1%}"
        for one in differences
        if one.chance < SIGNIFICANT
    ]
    basis = (
        f"on {canary.images:,} images against {active.images:,} of version {active.version} in the same hours"
    )
    if found:
        text = f"If {reference} were promoted, expect by its decisions {basis}: {'; '.join(found)}."
    else:
        text = (
            f"If {reference} were promoted, expect the same rates as today: {basis}, no difference is larger than "
            "chance explains. With few images, only large ones would be."
        )
    errors = next(one for one in differences if one.category is None and one.decision == ERROR)
    if (
        errors.chance < SIGNIFICANT
        and errors.canary[0] / errors.canary[1] > errors.active[0] / errors.active[1]
    ):
        return f"{text} It fails more often: see the reasons first.", f"moderator policy lint {reference}"
    return text, f"moderator policy promote {reference}"


def describe(one: RateDifference) -> str:
    """Return what a rate is of: `block`, or `weapons: block`."""
    return one.decision if one.category is None else f"{one.category}: {one.decision}"


def interval_text(rate: Estimate) -> str:
    """Return a share with its interval: `3.1 % (2.5 to 3.9)`."""
    if rate.value is None or rate.low is None or rate.high is None:
        return "–"
    return f"{rate.value * 100:.1f} % ({rate.low * 100:.1f} to {rate.high * 100:.1f})"
