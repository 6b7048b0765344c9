import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import EmbeddingInvalid
from moderator.policies.category_schema import Rule
from moderator.policies.condition_parser import names_in, parse_condition
from moderator.policies.schema import Policy
from moderator.scoring.layout import lay_out
from moderator.scoring.rules import Scores
from moderator.scoring.thresholds import SEVERITY, CompiledPolicy, judge, severities
from moderator.verdicts import Decision, Verdict
from moderator.view import View
from tests.support.conditions import CONDITIONS, brute_force, written
from tests.support.scoring_cases import PROMPTS, Case, cases, policy, rows


def compiled(policy: Policy, scale: float = 20.0, bias: float = 0.0) -> CompiledPolicy:
    """Each prompt has an axis of its own, so that an image's coordinates are its similarities; one axis is free."""
    layout = lay_out(policy)
    axes = np.eye(len(PROMPTS) + 1, dtype=np.float32)
    return CompiledPolicy(policy, layout, axes[[PROMPTS.index(p) for p in layout.prompts]], scale, bias)


def frame(**cosines: float) -> np.ndarray:
    """Similarity to `thing N` by the keyword tN; the rest are 0."""
    row = np.zeros(len(PROMPTS) + 1, np.float32)
    for name, value in cosines.items():
        row[int(name[1:])] = value
    return row


def scores(unsafe: list[float], safe: list[float]) -> Scores:
    nothing = np.zeros((1, 0), np.float32)
    return Scores(np.array([unsafe], np.float32), np.array([safe], np.float32), nothing, nothing)


def images(case: Case) -> np.ndarray:
    return np.array([[*(case.cosines[p] for p in PROMPTS), 1]], np.float32)


@pytest.mark.parametrize(
    ("score", "decision"),
    [
        (0.0, Decision.ALLOW),
        (0.2499, Decision.ALLOW),
        (0.25, Decision.REVIEW),
        (0.7499, Decision.REVIEW),
        (0.75, Decision.BLOCK),
        (1.0, Decision.BLOCK),
    ],
)
def test_review_and_block_bands(score: float, decision: Decision) -> None:
    layout = lay_out(policy({"c": {"unsafe": ["thing 0"], "review": 0.25, "block": 0.75}}, ("thing 1",)))
    assert SEVERITY[severities(layout, scores([score], [1 - score]))[0, 0]] is decision


@pytest.mark.parametrize(
    ("rule", "unsafe", "safe", "review", "decision"),
    [
        ("sigmoid", 1.0, 0.0, 0.25, Decision.REVIEW),
        ("sigmoid", 0.24, 0.0, 0.25, Decision.ALLOW),
        ("sigmoid", 1.0, 0.0, "never", Decision.ALLOW),
        (
            "softmax-mean",
            0.3,
            0.1,
            0.4,
            Decision.REVIEW,
        ),  # the classic recipe: the safe score is not the greater
        ("softmax-mean", 0.3, 0.4, 0.4, Decision.ALLOW),
    ],
)
def test_what_never_blocks_goes_to_people(
    rule: str, unsafe: float, safe: float, review: float | str, decision: Decision
) -> None:
    category = {"unsafe": ["thing 0"], "rule": rule, "review": review, "block": "never"}
    layout = lay_out(policy({"a": category}, ("thing 1",)))
    assert SEVERITY[severities(layout, scores([unsafe], [safe]))[0, 0]] is decision


def test_without_a_review_band_nothing_goes_to_people() -> None:
    layout = lay_out(policy({"c": {"unsafe": ["thing 0"], "block": 0.75}}, ("thing 1",)))
    levels = [severities(layout, scores([x], [1 - x]))[0, 0] for x in (0.0, 0.74, 0.75)]
    assert [SEVERITY[level] for level in levels] == [Decision.ALLOW, Decision.ALLOW, Decision.BLOCK]


@given(st.floats(0.01, 1), st.floats(0, 1, width=32))
def test_the_published_score_and_the_written_threshold_decide(block: float, score: float) -> None:
    layout = lay_out(policy({"c": {"unsafe": ["thing 0"], "block": block}}, ("thing 1",)))
    for value in (score, np.float32(block), np.nextafter(np.float32(block), np.float32(0))):
        published = float(np.float32(value))
        assert (severities(layout, scores([published], [0]))[0, 0] == 2) == (published >= block)


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32), st.floats(0.01, 1))
def test_the_classic_recipe(unsafe: float, safe: float, threshold: float) -> None:
    category = {"unsafe": ["thing 0"], "rule": "softmax-mean", "block": threshold}
    layout = lay_out(policy({"c": category}, ("thing 1",)))
    for u, s in ((unsafe, safe), (unsafe, unsafe)):
        is_safe = severities(layout, scores([u], [s]))[0, 0] == 0
        assert is_safe == (s > u and u < threshold)


def test_the_safe_score_matters_to_the_classic_recipe_alone() -> None:
    categories = {
        rule.value: {"unsafe": ["thing 0"], "rule": rule, "block": 0.9} for rule in Rule if rule.needs_safe
    }
    layout = lay_out(policy(categories, ("thing 1",)))
    levels = severities(layout, scores([0.3] * 4, [0.2] * 4))[0]
    assert dict(zip(layout.categories, levels, strict=True)) == {
        "margin": 0,
        "softmax-max": 0,
        "softmax-mean": 2,
        "softmax-sum": 0,
    }


def test_the_worst_category_decides_and_names_the_scores() -> None:
    p = policy(
        {
            "mild": {"unsafe": ["thing 0"], "block": 0.99},
            "bad": {"unsafe": ["thing 1"], "block": 0.1, "safe": ["thing 3"]},
        },
        ("thing 2",),
    )
    found = judge(compiled(p), np.stack([frame(t0=0.15, t1=0.1)]))
    assert found.categories["mild"].score > found.categories["bad"].score
    assert found.categories["mild"].decision is Decision.ALLOW
    assert found.decision is found.categories["bad"].decision is Decision.BLOCK
    assert found.unsafe_score == found.categories["bad"].score
    assert found.safe_score == pytest.approx(1 - found.unsafe_score, abs=1e-6)
    assert not found.is_safe


@given(cases())
def test_a_judgement_agrees_with_the_verdict_made_of_it(case: Case) -> None:
    found = judge(compiled(case.policy, case.scale, case.bias), images(case))
    verdict = Verdict(
        event_id="e", source="s", decision=found.decision, is_safe=found.is_safe, categories=found.categories
    )
    top = found.categories[verdict.top_category]
    assert (top.decision, top.score) == (found.decision, found.unsafe_score)
    assert found.is_safe == all(c.decision is Decision.ALLOW for c in found.categories.values())
    Verdict.model_validate_json(verdict.model_dump_json())


@given(
    cases(), st.lists(st.lists(st.floats(-1, 1, width=32), min_size=12, max_size=12), min_size=2, max_size=4)
)
def test_in_each_category_the_worst_frame_decides(case: Case, frames: list[list[float]]) -> None:
    rule = compiled(case.policy, case.scale, case.bias)
    embeddings = np.array([[*row, 1] for row in frames], np.float32)
    together = judge(rule, embeddings)
    alone = [judge(rule, embeddings[n : n + 1]) for n in range(len(frames))]
    for name, category in together.categories.items():
        worst = max(
            (j.categories[name] for j in alone), key=lambda c: (SEVERITY.index(c.decision), round(c.score, 5))
        )
        assert category.decision is worst.decision
        assert category.score == pytest.approx(worst.score, abs=2e-5)
    assert SEVERITY.index(together.decision) == max(SEVERITY.index(j.decision) for j in alone)


def test_top_prompts_are_the_categorys_own_most_alike_first() -> None:
    p = policy(
        {
            "a": {"unsafe": ["thing 0", "thing 1"], "safe": ["thing 2"]},
            "b": {"unsafe": ["thing 5"]},
        },
        ("thing 3", "thing 4"),
    )
    found = judge(compiled(p), frame(t0=0.1, t1=0.3, t2=0.2, t3=0.25, t4=-0.1, t5=0.05)[None])
    a = found.categories["a"].top_prompts
    assert [(t.prompt, t.side) for t in a] == [
        ("thing 1", "unsafe"),
        ("thing 3", "safe"),
        ("thing 2", "safe"),
    ]
    assert [t.similarity for t in a] == pytest.approx([0.3, 0.25, 0.2])
    assert [t.prompt for t in found.categories["b"].top_prompts] == ["thing 3", "thing 5", "thing 4"]


@given(cases())
def test_top_prompts_are_sorted_and_belong_to_the_category(case: Case) -> None:
    found = judge(compiled(case.policy, case.scale, case.bias), images(case))
    for name, category in found.categories.items():
        spec = case.policy.categories[name]
        own = [(p, "unsafe") for p in spec.unsafe]
        own += [(p, "safe") for p in dict.fromkeys((*case.policy.safe, *spec.safe))]
        told = [(t.prompt, t.side) for t in category.top_prompts]
        assert len(told) == len(set(told)) == min(3, len(own))
        assert set(told) <= set(own)
        best = sorted((case.cosines[p] for p, _ in own), reverse=True)[:3]
        assert [t.similarity for t in category.top_prompts] == pytest.approx(best, abs=1e-6)
        probabilities = [t.probability for t in category.top_prompts]
        assert probabilities == sorted(probabilities, reverse=True)


def test_top_prompts_are_sorted_even_where_their_probabilities_vanish() -> None:
    p = policy({"c": {"unsafe": ["thing 0", "thing 1"]}}, ("thing 2",))
    found = judge(compiled(p, scale=1000), frame(t0=-0.5, t1=-0.2, t2=0.9)[None])
    top = found.categories["c"].top_prompts
    assert [t.prompt for t in top] == ["thing 2", "thing 1", "thing 0"]
    assert [t.probability for t in top] == [1, 0, 0]


def test_top_prompts_explain_the_frame_that_decided() -> None:
    p = policy({"a": {"unsafe": ["thing 0"]}, "b": {"unsafe": ["thing 1"]}}, ("thing 2",))
    found = judge(compiled(p), np.stack([frame(t0=0.5, t1=0.1), frame(t0=0.1, t1=0.4)]))
    assert found.categories["a"].top_prompts[0].similarity == pytest.approx(0.5)
    assert found.categories["b"].top_prompts[0].similarity == pytest.approx(0.4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_is_not_finite_is_refused(bad: float) -> None:
    rule = compiled(policy({"c": {"unsafe": ["thing 0"]}}, ("thing 1",)))
    with pytest.raises(EmbeddingInvalid, match="MODERATOR_DTYPE"):
        judge(rule, np.stack([frame(t0=0.5), frame(t0=0.5, t7=bad)]))


def test_an_embedding_of_zeros_is_refused() -> None:
    rule = compiled(policy({"c": {"unsafe": ["thing 0"]}}, ("thing 1",)))
    with pytest.raises(EmbeddingInvalid):
        judge(rule, np.stack([frame(t0=0.5), frame()]))


def test_similarities_reach_the_rules_by_one_product() -> None:
    case = Case(
        policy({"c": {"unsafe": ["thing 3"], "rule": "sigmoid"}}), dict.fromkeys(PROMPTS, 0.25), 10, -2.5
    )
    assert rows(case.policy, [case.cosines]).tolist() == [[0.25]]
    assert judge(compiled(case.policy, 10, -2.5), images(case)).unsafe_score == 0.5


WHOLE, PANEL, TURNED = (
    View("whole", 0, (0, 0, 90, 60)),
    View("panel", 0, (10, 20, 30, 40)),
    View("whole", 0, (0, 0, 90, 60), 90),
)


def test_the_view_that_decides_is_named_for_each_category() -> None:
    p = policy(
        {"a": {"unsafe": ["thing 0"]}, "b": {"unsafe": ["thing 1"]}, "c": {"unsafe": ["thing 2"]}},
        ("thing 3",),
    )
    rows = np.array([frame(t2=0.9), frame(t0=0.9), frame(t1=0.9)])
    found = judge(compiled(p), rows, views=(WHOLE, PANEL, TURNED)).categories
    assert [found[name].view for name in "abc"] == [PANEL, TURNED, None]


def test_a_verdict_says_nothing_of_whole_pictures() -> None:
    p = policy({"a": {"unsafe": ["thing 0"]}}, ("thing 3",))
    for chosen, views in (([frame(t0=0.9)], ()), ([frame(t0=0.9), frame(t3=0.9)], (WHOLE, PANEL))):
        found = judge(compiled(p), np.array(chosen), views=views).categories
        verdict = Verdict(event_id="e", source="s", decision=Decision.BLOCK, is_safe=False, categories=found)
        assert "view" not in verdict.model_dump_json()
        assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_a_named_view_is_read_back() -> None:
    p = policy({"a": {"unsafe": ["thing 0"]}}, ("thing 3",))
    found = judge(compiled(p), np.array([frame(t3=0.9), frame(t0=0.9)]), views=(WHOLE, PANEL)).categories
    verdict = Verdict(event_id="e", source="s", decision=Decision.BLOCK, is_safe=False, categories=found)
    text = verdict.model_dump_json()
    assert '"view":{"name":"panel","frame":0,"box":[10,20,30,40],"turn":0}' in text
    assert Verdict.model_validate_json(text) == verdict


@given(cases(), CONDITIONS, st.floats(0, 1), st.booleans())
def test_a_condition_judges_what_the_other_categories_came_to(
    case: Case, tree: Any, text: float, unsure: bool
) -> None:
    """Over prompts of each rule, the classic one included, and over a signal that may not have read all."""
    plain = json.loads(case.policy.canonical())
    first = next(iter(case.policy.categories))
    whole = Policy.model_validate(
        {
            **plain,
            "signals": [{"name": "text", "kind": "text"}],
            "categories": {
                **{name: spec for name, spec in plain["categories"].items() if name != first},
                "a": plain["categories"][first],
                "b": {"signal": "text", "review": 0.3},
                "c": {"unsafe": ["thing 0"], "safe": ["thing 1"], "rule": "softmax-mean", "review": 0.2},
                "z": {"when": written(tree), "review": 0.4, "block": 0.6},
            },
        }
    )
    found = judge(
        compiled(whole, case.scale, case.bias),
        images(case),
        {"text": text},
        unsure=frozenset({"text"}) if unsure else frozenset(),
    )
    scores = {name: category.score for name, category in found.categories.items()}
    depends = "b" in names_in(parse_condition(written(tree)))
    if not (unsure and depends):
        assert scores["z"] == pytest.approx(brute_force(tree, scores), abs=1e-12)
    level = 2 if scores["z"] >= 0.6 else 1 if scores["z"] >= 0.4 or (unsure and depends) else 0
    assert found.categories["z"].decision is SEVERITY[level]
    assert found.decision is max((c.decision for c in found.categories.values()), key=SEVERITY.index)
    alone = judge(compiled(case.policy, case.scale, case.bias), images(case))
    assert found.categories["a"] == alone.categories[first], "others are as without the condition"
