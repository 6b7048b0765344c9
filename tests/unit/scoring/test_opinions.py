"""What a second opinion may change, and what not."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.policies.schema import Policy
from moderator.scoring.layout import lay_out
from moderator.scoring.opinions import Opinion, OpinionOutcome, outcome_of, questions, with_opinions
from moderator.scoring.thresholds import SEVERITY, CompiledPolicy, Judgement
from moderator.signals.question import Question, opinion_key
from moderator.verdicts import CategoryVerdict, Decision

ALLOW, REVIEW, BLOCK = Decision.ALLOW, Decision.REVIEW, Decision.BLOCK
POLICY = Policy.model_validate(
    {
        "name": "p",
        "version": 1,
        "safe": ["a cup"],
        "signals": [{"name": "guard", "kind": "second-opinion"}, {"name": "scam", "kind": "text"}],
        "categories": {
            "animals": {"unsafe": ["a cat"], "review": 0.4},
            "guard": {"signal": "guard", "review": 0.5, "block": 0.9},
            "scam": {"signal": "scam", "review": 0.6, "block": "never"},
            "weapons": {"unsafe": ["a gun"], "safe": ["a toy"], "review": 0.4, "block": 0.8},
        },
    }
)

COMPILED = CompiledPolicy(POLICY, lay_out(POLICY), np.zeros((0, 1), np.float32), 1.0, 0.0)


def judgement(**decisions: tuple[Decision, float]) -> Judgement:
    quiet = {"animals": (ALLOW, 0.1), "guard": (ALLOW, 0.0), "scam": (ALLOW, 0.0), "weapons": (ALLOW, 0.2)}
    categories = {name: CategoryVerdict(s, d) for name, (d, s) in {**quiet, **decisions}.items()}
    top = max(categories.values(), key=lambda c: SEVERITY.index(c.decision) + c.score / 2)
    return Judgement(top.decision, 0.4, top.score, categories)


WEAPONS = judgement(weapons=(REVIEW, 0.6))


def after(first: Judgement, *clears: str, score: float = 0.0, unsure: bool = False) -> Judgement:
    return with_opinions(COMPILED, first, {"guard": Opinion(score, unsure, frozenset(clears))})


def test_questions_are_those_of_the_categories_in_review() -> None:
    assert questions(COMPILED, WEAPONS, frozenset()) == (Question("weapons", ("a gun",), ("a toy",)),)
    assert questions(COMPILED, judgement(), frozenset()) == ()
    assert questions(COMPILED, judgement(weapons=(BLOCK, 0.9), animals=(REVIEW, 0.5)), frozenset()) == ()


def test_what_a_signal_did_not_read_stays_with_people() -> None:
    first = judgement(scam=(REVIEW, 0.7))
    assert questions(COMPILED, first, frozenset()) == (Question("scam"),)
    assert questions(COMPILED, first, frozenset({"scam"})) == ()


@pytest.mark.parametrize(("score", "decision"), [(0.49, REVIEW), (0.5, REVIEW), (0.9, BLOCK)])
def test_its_own_category_is_decided_by_thresholds(score: float, decision: Decision) -> None:
    found = after(WEAPONS, score=score)
    assert (found.decision, found.categories["guard"].score) == (decision, score)
    assert found.categories["weapons"] == WEAPONS.categories["weapons"]
    assert found.unsafe_score == (0.9 if decision is BLOCK else 0.6)
    assert found.safe_score == pytest.approx(0.1 if decision is BLOCK else 0.4)


def test_a_cleared_review_keeps_its_score_and_names_who_decided() -> None:
    found = after(WEAPONS, "weapons", score=0.02)
    assert (found.decision, found.unsafe_score, found.safe_score) == (ALLOW, 0.6, 0.4)
    assert found.categories["weapons"] == CategoryVerdict(0.6, ALLOW, (), decided_by="guard")
    assert outcome_of(found) is OpinionOutcome.CLEARED


def test_another_category_in_review_keeps_the_image_there() -> None:
    found = after(judgement(weapons=(REVIEW, 0.6), animals=(REVIEW, 0.5)), "weapons")
    assert (found.decision, found.unsafe_score) == (REVIEW, 0.5)
    assert outcome_of(found) is OpinionOutcome.KEPT


def test_a_missing_answer_clears_nothing() -> None:
    found = after(WEAPONS, unsure=True)
    assert (found.decision, found.categories["guard"].decision) == (REVIEW, REVIEW)
    assert with_opinions(COMPILED, WEAPONS, {"guard": Opinion()}) == found


def test_all_opinions_have_to_clear() -> None:
    yes, no = Opinion(0.0, False, frozenset({"weapons"})), Opinion(0.0, False)
    assert with_opinions(COMPILED, WEAPONS, {"a": yes, "b": no}).decision is REVIEW
    assert with_opinions(COMPILED, WEAPONS, {"a": yes, "b": yes}).decision is ALLOW


@given(
    st.fixed_dictionaries(
        {
            name: st.tuples(st.sampled_from([ALLOW, REVIEW]), st.floats(0, 1))
            for name in ("animals", "scam", "weapons")
        }
    ),
    st.sets(st.sampled_from(["animals", "scam", "weapons", "guard", "none"])),
    st.floats(0, 1),
    st.booleans(),
)
def test_nothing_is_allowed_that_was_not_cleared(
    decisions: dict[str, Any], clears: set[str], score: float, unsure: bool
) -> None:
    first = judgement(**decisions)
    found = after(first, *clears, score=score, unsure=unsure)
    for name, category in found.categories.items():
        if first.categories[name].decision is REVIEW and category.decision is not REVIEW:
            assert name in clears
    assert found.decision == max((c.decision for c in found.categories.values()), key=SEVERITY.index)
    if unsure:
        assert found.decision is not ALLOW


PLAIN = json.loads(POLICY.canonical())
WITH_CONDITIONS = Policy.model_validate(
    {
        **PLAIN,
        "categories": {
            **PLAIN["categories"],
            "agreed": {"when": "weapons and guard", "review": 0.3, "block": 0.55},
            "sworn": {"when": "weapons and not guard", "block": 0.55},
            "told": {"when": "weapons or scam", "review": 0.5, "block": 0.9},
        },
    }
)


def conditions(**opinion: Any) -> tuple[Judgement, Judgement]:
    """An image with a score of 0.6 for weapons, and what the opinion makes of it."""
    compiled = CompiledPolicy(
        WITH_CONDITIONS, lay_out(WITH_CONDITIONS), np.zeros((0, 1), np.float32), 1.0, 0.0
    )
    quiet = {"animals": (ALLOW, 0.1), "guard": (ALLOW, 0.0), "scam": (ALLOW, 0.0), "weapons": (REVIEW, 0.6)}
    first = {**quiet, "agreed": (ALLOW, 0.0), "sworn": (ALLOW, 0.0), "told": (REVIEW, 0.6)}
    categories = {name: CategoryVerdict(s, d) for name, (d, s) in first.items()}
    judged = Judgement(REVIEW, 0.4, 0.6, categories)
    return judged, with_opinions(compiled, judged, {"guard": Opinion(**opinion)})


def test_conditions_over_an_opinion_are_decided_when_it_is_given() -> None:
    first, agreed = conditions(score=0.8, unsure=False)
    assert agreed.categories["agreed"] == CategoryVerdict(0.6, BLOCK)
    assert agreed.categories["sworn"] == CategoryVerdict(pytest.approx(0.2), ALLOW)
    assert (agreed.decision, agreed.unsafe_score) == (BLOCK, 0.6)
    assert agreed.categories["told"] == first.categories["told"], "it does not depend on the opinion"
    denied = conditions(score=0.1, unsure=False)[1]
    assert denied.categories["sworn"] == CategoryVerdict(0.6, BLOCK)


def test_without_an_answer_no_condition_relies_on_what_it_denies() -> None:
    unanswered = conditions(score=0.0, unsure=True)[1]
    assert unanswered.categories["sworn"] == CategoryVerdict(0.0, REVIEW)
    assert unanswered.categories["agreed"] == CategoryVerdict(0.0, REVIEW)
    assert unanswered.decision is REVIEW


def test_a_condition_may_be_cleared() -> None:
    cleared = conditions(score=0.1, unsure=False, clears=frozenset({"weapons", "told"}))[1]
    assert cleared.categories["told"] == CategoryVerdict(0.6, ALLOW, decided_by="guard")
    assert cleared.decision is BLOCK, "of the condition that the opinion denies"


def test_conditions_over_what_was_not_read_stay_with_people() -> None:
    compiled = CompiledPolicy(
        WITH_CONDITIONS, lay_out(WITH_CONDITIONS), np.zeros((0, 1), np.float32), 1.0, 0.0
    )
    first, _ = conditions()
    asked = [question.category for question in questions(compiled, first, frozenset())]
    assert asked == ["told", "weapons"]
    assert [q.category for q in questions(compiled, first, frozenset({"scam"}))] == ["weapons"]


def test_keys_depend_on_signal_and_questions() -> None:
    keys = {
        opinion_key(signal, asked)
        for signal in ("a", "b")
        for asked in ([], [Question("weapons", ("a gun",))], [Question("weapons", (), ("a gun",))])
    }
    assert len(keys) == 6
