"""Thresholds after calibration, of conditions and on encoders."""

from typing import Any

import pytest

from moderator.policies.lint import lint
from moderator.policies.lint_finding import Severity
from moderator.policies.schema import Policy
from moderator.policies.threshold_lint import score_range

HERE = {"id": "clip:x", "revision": "r", "preprocessing": "p"}
GUNS: dict[str, Any] = {"unsafe": ["a gun", "a rifle"]}
MEAN: dict[str, Any] = {"unsafe": ["a cat", "a dog"], "rule": "softmax-mean", "block": 0.4}


def policy(categories: dict[str, Any], **changes: Any) -> Policy:
    base = {"name": "p", "version": 1, "safe": ["a chair", "a lamp", "a cup"]}
    return Policy.model_validate(
        {**base, "signals": [{"name": "text", "kind": "text"}], "categories": categories, **changes}
    )


def found(categories: dict[str, Any], **changes: Any) -> dict[tuple[Any, ...], tuple[Severity, str]]:
    findings = lint(policy({"text": {"signal": "text"}, **categories}, **changes))
    return {f.path: (f.severity, f.message) for f in findings if f.path != ("signals", 0)}


def isotonic(*points: tuple[float, float]) -> dict[str, Any]:
    return {"kind": "isotonic", "points": [list(point) for point in points]}


@pytest.mark.parametrize(
    ("calibration", "thresholds", "key", "severity", "said"),
    [
        (
            isotonic((0, 0), (1, 0.4)),
            {},
            "block",
            Severity.WARNING,
            "isotonic calibration no score exceeds 0.4",
        ),
        (isotonic((0, 0), (1, 0.4)), {"review": 0.45}, "review", Severity.ERROR, "lower it to at most 0.4"),
        (isotonic((0, 0.3), (1, 1)), {"review": 0.3}, "review", Severity.ERROR, "reached by every image"),
        ({"kind": "platt", "slope": 1, "offset": -20}, {}, "block", Severity.WARNING, "exceeds 0.0334"),
        (
            {"kind": "platt", "slope": 0.01, "offset": 9},
            {},
            "block",
            Severity.ERROR,
            "reached by every image",
        ),
    ],
)
def test_thresholds_after_calibration(
    calibration: dict[str, Any], thresholds: dict[str, Any], key: str, severity: Severity, said: str
) -> None:
    finding = found({"guns": {**GUNS, "calibration": calibration, **thresholds}})["categories", "guns", key]
    assert finding[0] is severity
    assert said in finding[1]


def test_a_calibration_that_leaves_thresholds_in_reach() -> None:
    platt = {"kind": "platt", "slope": 1.5, "offset": -1}
    assert set(found({"guns": {**GUNS, "calibration": platt, "review": 0.1}})) == {("categories",)}


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("cats", (0.0, 0.5)),
        ("not cats", (0.5, 1.0)),
        ("guns and cats", (0.0, 0.5)),
        ("guns or cats", (0.0, 1.0)),
        ("not (guns or cats)", (0.0, 1.0)),
        ("sure and not cats", (0.2, 0.9)),
    ],
)
def test_the_range_of_a_condition(when: str, expected: tuple[float, float]) -> None:
    sure = {"signal": "text", "calibration": isotonic((0, 0.2), (1, 0.9))}
    made = policy({"guns": GUNS, "cats": MEAN, "sure": sure, "z": {"when": when}})
    assert score_range(made.categories["z"], made.categories) == expected


def test_thresholds_of_conditions() -> None:
    findings = found({"guns": GUNS, "cats": MEAN, "z": {"when": "guns and cats", "block": 0.6}})
    severity, message = findings[("categories", "z", "block")]
    assert severity is Severity.WARNING
    assert "of 'guns and cats' no score exceeds 0.5" in message
    assert "every image" in found({"cats": MEAN, "z": {"when": "not cats"}})[("categories", "z", "block")][1]


def test_a_category_that_decides_only_through_a_condition_is_fine() -> None:
    quiet = {**GUNS, "block": "never"}
    assert ("categories", "guns", "block") in found({"guns": quiet})
    assert found({"guns": quiet, "z": {"when": "guns and not text"}}) == {}


@pytest.mark.parametrize(
    ("when", "said"),
    [("guns and not guns", "never exceeds 0.5"), ("not (guns and not guns)", "never is below")],
)
def test_a_category_and_its_opposite(when: str, said: str) -> None:
    severity, message = found({"guns": GUNS, "z": {"when": when, "block": 0.6}})[("categories", "z", "when")]
    assert severity is Severity.WARNING
    assert said in message


def test_a_probe_beside_words_is_used() -> None:
    probe = {"name": "near", "kind": "probe"}
    made = policy({"guns": {**GUNS, "probe": {"signal": "near", "weight": 0.5}}}, signals=[probe])
    assert lint(made) == ()


def test_an_invisible_character_in_a_message() -> None:
    findings = found({"guns": {**GUNS, "message": "no\u200bguns"}})
    assert "invisible character" in findings[("categories", "guns", "message", 0)][1]


def test_encoders() -> None:
    guns = {**GUNS, "review": 0.3, "midpoint": 0.2}
    named = {"guns": {"block": 0.4, "review": 0.1}}
    assert found({"guns": guns})[("categories",)][0] is Severity.HINT
    assert found({"guns": guns}, encoders=[{**HERE, "categories": named}]) == {}
    dropped = found({"guns": guns}, encoders=[{**HERE, "categories": {"guns": {"block": 0.4}}}])
    assert "sends nothing of 'guns' to people" in dropped[("encoders", 0, "categories", "guns")][1]
    missing = found({"guns": guns, "cats": MEAN}, encoders=[{**HERE, "categories": named}])
    assert "lists no thresholds of 'cats'" in missing[("encoders", 0)][1]
    unreachable = found({"cats": MEAN}, encoders=[{**HERE, "categories": {"cats": {"block": 0.6}}}])
    assert list(unreachable) == [("encoders", 0, "categories", "cats", "block")]
