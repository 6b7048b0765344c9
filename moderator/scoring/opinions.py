"""Second opinions: which questions an image in review raises, and what the answers change."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from enum import StrEnum

from moderator.policies.schema import Policy
from moderator.scoring.thresholds import Judgement, severest, signal_verdict
from moderator.signals.question import Question
from moderator.verdicts import Decision


class OpinionOutcome(StrEnum):
    """What came of a second opinion on an image in review."""

    CLEARED = "cleared"
    """The image is allowed."""
    BLOCKED = "blocked"
    KEPT = "kept"
    """People review the image, as they would have without it."""
    NOT_ASKED = "not-asked"
    """Likewise: the share is used up, or too many images wait."""
    FAILED = "failed"
    """Likewise: the model failed, or took too long."""


@dataclass(frozen=True)
class Opinion:
    """What a second opinion says of an image in review."""

    score: float = 0.0
    """Of the categories that take their score from it."""
    unsure: bool = True
    """Whether it leaves the image to people: nobody was asked, or there is no answer."""
    clears: frozenset[str] = frozenset()
    """The categories whose review it lifts."""


def questions(policy: Policy, judgement: Judgement, unsure: Set[str]) -> tuple[Question, ...]:
    """Return a question for each category that put the image into review; none if another decision is reached.

    Args:
        policy: the one that decides.
        judgement: without a second opinion.
        unsure: signals that did not read all of the image. What they leave to people stays with them.
    """
    if judgement.decision is not Decision.REVIEW:
        return ()
    return tuple(
        Question(name, spec.unsafe, spec.safe)
        for name, spec in policy.categories.items()
        if judgement.categories[name].decision is Decision.REVIEW and spec.signal not in unsure
    )


def with_opinions(policy: Policy, judgement: Judgement, opinions: Mapping[str, Opinion]) -> Judgement:
    """Return the judgement of an image in review with second opinions.

    Categories that take their score from one are decided by their thresholds. A category's review is lifted only if all
    opinions lift it. Everything else stays.

    Args:
        policy: the one that decides.
        judgement: without second opinions.
        opinions: at least one, by the name of the signal.
    """
    cleared = frozenset.intersection(*(opinion.clears for opinion in opinions.values()))
    categories = dict(judgement.categories)
    for name, verdict in judgement.categories.items():
        signal = policy.categories[name].signal
        if signal is not None and signal in opinions:
            opinion = opinions[signal]
            categories[name] = signal_verdict(policy.categories[name], opinion.score, opinion.unsure)
        elif name in cleared and verdict.decision is Decision.REVIEW:
            categories[name] = replace(verdict, decision=Decision.ALLOW, decided_by=min(opinions))
    name, top = severest(categories)
    same = name == severest(judgement.categories)[0]
    return Judgement(
        decision=top.decision,
        safe_score=judgement.safe_score if same else 1 - top.score,
        unsafe_score=top.score,
        categories=categories,
    )


def outcome_of(judgement: Judgement) -> OpinionOutcome:
    """Return what came of an opinion that was given, from the judgement with it."""
    if judgement.decision is Decision.ALLOW:
        return OpinionOutcome.CLEARED
    return OpinionOutcome.BLOCKED if judgement.decision is Decision.BLOCK else OpinionOutcome.KEPT
