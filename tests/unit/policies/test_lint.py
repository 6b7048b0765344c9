from typing import Any

import pytest

from moderator.policies.lint import lint
from moderator.policies.lint_finding import Severity
from moderator.policies.schema import Policy
from moderator.policies.threshold_lint import highest_by_rule

SAFE = ["a landscape", "a chair", "a plate of food"]


def found(category: dict[str, Any], safe: list[str] = SAFE) -> dict[tuple[Any, ...], tuple[Severity, str]]:
    policy = Policy.model_validate({"name": "p", "version": 1, "safe": safe, "categories": {"c": category}})
    return {f.path[2:] or f.path: (f.severity, f.message) for f in lint(policy)}


def test_a_good_policy_has_no_findings() -> None:
    assert found({"unsafe": ["a gun", "a rifle"], "safe": ["a toy"], "review": 0.4}) == {}


def test_threshold_that_can_never_be_reached() -> None:
    three = {"unsafe": ["a", "b", "c"], "rule": "softmax-mean"}
    severity, message = found(three)[("block",)]
    assert severity is Severity.WARNING
    assert "block 0.5 can never be reached" in message
    assert "1/3 = 0.333" in message
    assert found({**three, "block": 1 / 3}) == {}
    assert found({**three, "review": 0.4})[("review",)][0] is Severity.ERROR
    assert found({**three, "rule": "softmax-sum"}) == {}


@pytest.mark.parametrize("rule", ["softmax-sum", "softmax-max", "sigmoid", "margin"])
def test_other_rules_reach_one(rule: str) -> None:
    category = {"unsafe": ["a", "b", "c"], "rule": rule, "block": 1}
    assert found(category) == {}
    policy = Policy.model_validate({"name": "p", "version": 1, "safe": SAFE, "categories": {"c": category}})
    assert highest_by_rule(policy.categories["c"]) == 1


def test_prompt_on_both_sides() -> None:
    findings = found({"unsafe": ["A Chair", "a toy gun"], "safe": ["a toy gun"]})
    assert findings[("unsafe", 0)] == (
        Severity.ERROR,
        "'A Chair' is unsafe here and in the policy's safe list; remove it from one of them",
    )
    assert "this category's safe list" in findings[("unsafe", 1)][1]


def test_own_safe_prompt_that_is_shared() -> None:
    assert found({"unsafe": ["a", "b"], "safe": ["a chair"]})[("safe", 0)][0] is Severity.HINT


def test_few_prompts() -> None:
    assert found({"unsafe": ["a gun"]})[("unsafe",)][0] is Severity.HINT
    assert found({"unsafe": ["a", "b"]}, ["a chair"])[("safe",)][0] is Severity.HINT
    assert found({"unsafe": ["a", "b"], "rule": "sigmoid"}, []) == {}


def test_prompts_that_are_not_read_as_meant() -> None:
    findings = found({"unsafe": ["a person without a gun", "a photo of {}", "a notebook", "nothing"]})
    assert findings[("unsafe", 0)][0] is Severity.HINT
    assert "'without'" in findings[("unsafe", 0)][1]
    assert findings[("unsafe", 1)][0] is Severity.WARNING
    assert set(findings) == {("unsafe", 0), ("unsafe", 1)}


@pytest.mark.parametrize(
    ("options", "severity"),
    [
        ({}, Severity.ERROR),
        ({"words": []}, Severity.ERROR),
        ({"words": ["!?"]}, Severity.ERROR),
        ({"words": ["free money"]}, None),
        ({"file": "words.txt", "sha256": "0" * 64}, None),
        ({"file": "words.txt", "sha256": "0" * 64, "words": ["!?"]}, Severity.ERROR),
    ],
)
def test_a_text_signal_that_has_nothing_to_look_for(
    options: dict[str, Any], severity: Severity | None
) -> None:
    policy = Policy.model_validate(
        {
            "name": "p",
            "version": 1,
            "signals": [{"name": "scam", "kind": "text", **options}],
            "categories": {"c": {"signal": "scam"}},
        }
    )
    findings = lint(policy)
    assert [f.severity for f in findings] == ([severity] if severity else [])
    assert [f.path for f in findings] == ([("signals", 0)] if severity else [])


GUARD = {"name": "guard", "kind": "second-opinion", "share": 0.1}


@pytest.mark.parametrize(
    ("options", "review", "found"),
    [
        ({"clears": {"weapons": 0.1}}, 0.4, []),
        ({"clears": {"weapon": 0.1}}, 0.4, [(("signals", 0, "clears"), Severity.ERROR)]),
        ({"clears": {"guard": 0.1}}, 0.4, [(("signals", 0, "clears"), Severity.ERROR)]),
        ({"questions": {"arms": "a gun"}}, 0.4, [(("signals", 0, "questions"), Severity.ERROR)]),
        ({}, None, [(("signals", 0), Severity.WARNING)]),
    ],
)
def test_a_second_opinion_that_is_never_asked_or_names_no_category(
    options: dict[str, Any], review: float | None, found: list[tuple[Any, Severity]]
) -> None:
    policy = Policy.model_validate(
        {
            "name": "p",
            "version": 1,
            "safe": ["a cup", "a chair", "a lamp"],
            "signals": [{**GUARD, **options}],
            "categories": {
                "weapons": {"unsafe": ["a gun", "a rifle"], "review": review, "block": 0.8},
                "guard": {"signal": "guard", "review": 0.5, "block": 0.9},
            },
        }
    )
    assert [(f.path, f.severity) for f in lint(policy)] == found


def test_a_second_opinion_that_only_clears_needs_no_category() -> None:
    weapons = {"unsafe": ["a gun", "a rifle"], "review": 0.4, "block": 0.8}
    content = {
        "name": "p",
        "version": 1,
        "safe": ["a cup", "a chair", "a lamp"],
        "categories": {"weapons": weapons},
    }
    for clears, warned in (({"weapons": 0.1}, 0), ({}, 1)):
        policy = Policy.model_validate({**content, "signals": [{**GUARD, "clears": clears}]})
        assert ["no category uses" in f.message for f in lint(policy)] == [True] * warned
