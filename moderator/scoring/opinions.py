"""Second opinions: which questions an image in review raises, and what the answers change."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from moderator.scoring.final_scores import apply_conditions, calibrate, final_levels, unsure_categories
from moderator.scoring.score_plan import ScorePlan
from moderator.scoring.thresholds import SEVERITY, CompiledPolicy, Judgement, severest
from moderator.signals.question import Question
from moderator.verdicts import CategoryVerdict, Decision


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


def questions(compiled: CompiledPolicy, judgement: Judgement, unsure: Set[str]) -> tuple[Question, ...]:
    """Return a question for each category that put the image into review; none if another decision is reached.

    Args:
        compiled: the policy that decides.
        judgement: without a second opinion.
        unsure: signals that did not read all of the image. What they leave to people stays with them.
    """
    if judgement.decision is not Decision.REVIEW:
        return ()
    left = compiled.plan.depending_on(unsure)
    return tuple(
        Question(name, spec.unsafe, spec.safe)
        for column, (name, spec) in enumerate(compiled.categories.items())
        if judgement.categories[name].decision is Decision.REVIEW and column not in left
    )


def with_opinions(
    compiled: CompiledPolicy,
    judgement: Judgement,
    opinions: Mapping[str, Opinion],
    unsure: Set[str] = frozenset(),
) -> Judgement:
    """Return the judgement of an image in review with second opinions.

    Categories that take their score from one, and conditions over these, are decided by their thresholds. A category's
    review is lifted only if all opinions lift it. Everything else stays.

    Args:
        compiled: the policy that decides.
        judgement: without second opinions.
        opinions: at least one, by the name of the signal.
        unsure: other signals that did not read all of the image.
    """
    cleared = frozenset.intersection(*(opinion.clears for opinion in opinions.values()))
    categories = {**judgement.categories, **_decided_again(compiled.plan, judgement, opinions, unsure)}
    for name, verdict in categories.items():
        signal = compiled.categories[name].signal
        if name in cleared and verdict.decision is Decision.REVIEW and signal not in opinions:
            categories[name] = replace(verdict, decision=Decision.ALLOW, decided_by=min(opinions))
    name, top = severest(categories)
    same = name == severest(judgement.categories)[0] and top.score == judgement.unsafe_score
    return Judgement(
        decision=top.decision,
        safe_score=judgement.safe_score if same else 1 - top.score,
        unsafe_score=top.score,
        categories=categories,
    )


def _decided_again(
    plan: ScorePlan, judgement: Judgement, opinions: Mapping[str, Opinion], unsure: Set[str]
) -> dict[str, CategoryVerdict]:
    """Return the verdicts of the categories whose scores depend on opinions."""
    scores = np.array([[judgement.categories[name].score for name in plan.categories]])
    for name, opinion in opinions.items():
        columns = plan.signals.get(name, ())
        scores[:, columns] = opinion.score
        calibrate(plan, scores, columns)
    unread = {*unsure, *(name for name, opinion in opinions.items() if opinion.unsure)}
    flags = unsure_categories(plan, dict.fromkeys(unread, True))
    apply_conditions(plan, scores, flags)
    # None of the affected categories has prompts, so their levels do not matter.
    levels = final_levels(plan, scores, np.zeros((1, len(plan.prompts)), dtype=np.int8), flags)
    return {
        plan.categories[n]: CategoryVerdict(score=float(scores[0, n]), decision=SEVERITY[levels[0, n]])
        for n in sorted(plan.depending_on(opinions))
    }


def outcome_of(judgement: Judgement) -> OpinionOutcome:
    """Return what came of an opinion that was given, from the judgement with it."""
    if judgement.decision is Decision.ALLOW:
        return OpinionOutcome.CLEARED
    return OpinionOutcome.BLOCKED if judgement.decision is Decision.BLOCK else OpinionOutcome.KEPT
