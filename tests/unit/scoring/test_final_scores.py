"""Calibration, probes and conditions: against one number at a time, and what holds for all of them."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.policies.calibration_schema import MAX_OFFSET, MAX_SLOPE, MIN_SLOPE, SCORE_GRAIN
from moderator.policies.schema import Policy
from moderator.scoring.final_scores import final_levels, final_scores, unsure_categories
from moderator.scoring.score_calibration import expit, isotonic, join_probe, logit, platt
from moderator.scoring.score_plan import ScorePlan, plan_scores
from tests.support.conditions import CONDITIONS, brute_force, written

SCORES = st.floats(0, 1)
SLOPES = st.floats(MIN_SLOPE, MAX_SLOPE)
OFFSETS = st.floats(-MAX_OFFSET, MAX_OFFSET)
WEIGHTS = st.floats(0.01, 0.99)


def plan(signals: dict[str, str] | None = None, **categories: dict[str, Any]) -> ScorePlan:
    """Of a policy with these categories; prompts for those that name no other source."""
    policy = Policy.model_validate(
        {
            "name": "p",
            "version": 1,
            "safe": ["a cup"],
            "signals": [{"name": name, "kind": kind} for name, kind in (signals or {}).items()],
            "categories": {
                name: spec if {"signal", "when"} & set(spec) else {"unsafe": ["a gun"], **spec}
                for name, spec in categories.items()
            },
        }
    )
    return plan_scores(policy.categories)


@st.composite
def points(draw: st.DrawFn) -> list[tuple[float, float]]:
    scores = sorted(draw(st.lists(SCORES, min_size=2, max_size=6, unique=True)))
    return list(
        zip(scores, sorted(draw(st.lists(SCORES, min_size=len(scores), max_size=len(scores)))), strict=True)
    )


@given(SCORES, SCORES, SLOPES, OFFSETS)
def test_platt_is_monotone_and_in_range(one: float, two: float, slope: float, offset: float) -> None:
    low, high = platt(np.array(sorted((one, two))), np.float64(slope), np.float64(offset))
    assert 0 <= low <= high <= 1


@given(SCORES, SCORES, points())
def test_isotonic_is_monotone_and_meets_its_points(
    one: float, two: float, pairs: list[tuple[float, float]]
) -> None:
    table = np.array(pairs)
    low, high = isotonic(np.array(sorted((one, two))), table)
    assert table[0, 1] <= low <= high <= table[-1, 1]
    assert np.allclose(isotonic(table[:, 0], table), table[:, 1])
    outside = isotonic(np.array([0.0, 1.0]), table)
    assert outside[0] == table[0, 1]
    assert outside[1] == table[-1, 1]


@given(SCORES, SCORES, SCORES, WEIGHTS)
def test_a_joined_score_is_monotone_in_both_and_between_them(
    words: float, more: float, probe: float, weight: float
) -> None:
    def join(one: float, two: float) -> float:
        return float(join_probe(np.float64(one), np.float64(two), np.float64(weight)))

    low, high = sorted((words, more))
    assert join(low, probe) <= join(high, probe)
    assert join(probe, low) <= join(probe, high)
    assert min(words, probe) - 1e-6 <= join(words, probe) <= max(words, probe) + 1e-6


@given(st.floats(0.001, 0.999))
def test_logit_is_the_inverse_of_expit(score: float) -> None:
    assert logit(np.float64(score)) == pytest.approx(math.log(score / (1 - score)), abs=1e-12)
    assert expit(logit(np.float64(score))) == pytest.approx(score, abs=1e-12)


def test_log_odds_of_certain_scores_are_bounded() -> None:
    bound = math.log((1 - SCORE_GRAIN) / SCORE_GRAIN)
    assert logit(np.array([0.0, 1.0])) == pytest.approx([-bound, bound])


def test_a_calibration_follows_the_probe() -> None:
    found = plan(
        {"near": "probe"},
        c={
            "probe": {"signal": "near", "weight": 0.25},
            "calibration": {"kind": "platt", "slope": 2, "offset": 1},
        },
        d={"calibration": {"kind": "isotonic", "points": [[0, 0], [0.5, 0.9], [1, 1]]}},
        e={"signal": "near", "calibration": {"kind": "platt", "slope": 0.5, "offset": 0}},
    )
    scores = final_scores(found, np.array([[0.2, 0.25]], np.float32), {"near": 0.9}, None)
    joined = 0.75 * math.log(0.2 / 0.8) + 0.25 * math.log(0.9 / 0.1)
    expected = [1 / (1 + math.exp(-2 * joined - 1)), 0.45, 3 / (3 + 1)]
    assert scores == pytest.approx(np.array([expected]), abs=1e-7)


@given(CONDITIONS, st.lists(st.tuples(SCORES, SCORES, SCORES), min_size=1, max_size=5))
def test_a_condition_is_in_range_and_equals_a_brute_force_evaluator(
    tree: Any, images: list[tuple[float, float, float]]
) -> None:
    found = plan({"s": "text"}, a={}, b={}, c={"signal": "s"}, z={"when": written(tree)})
    table = np.array(images)
    scores = final_scores(found, table[:, :2], {"s": table[:, 2]}, None)
    assert ((scores >= 0) & (scores <= 1)).all()
    expected = [brute_force(tree, dict(zip("abc", row, strict=True))) for row in table.tolist()]
    assert scores[:, 3] == pytest.approx(expected, abs=1e-12)


@given(CONDITIONS, st.tuples(SCORES, SCORES, SCORES), SCORES)
def test_what_was_not_read_never_makes_a_condition_certain(
    tree: Any, image: tuple[float, float, float], truth: float
) -> None:
    """With a reading that is only a lower bound, the score is a lower bound of what the true one gives."""
    found = plan({"s": "text"}, a={}, b={}, c={"signal": "s"}, z={"when": written(tree)})
    prompts, read = np.array([image[:2]]), min(image[2], truth)
    flags = unsure_categories(found, {"s": True})
    scores = final_scores(found, prompts, {"s": read}, flags)
    whole = final_scores(found, prompts, {"s": max(image[2], truth)}, None)
    assert (scores[0, 3] <= whole[0, 3]) or not np.isin(3, found.depends["s"])


def test_an_unsure_condition_goes_to_review_unless_it_blocks() -> None:
    found = plan(
        {"s": "text"},
        a={},
        c={"signal": "s"},
        x={"when": "a and not c", "block": 0.5},
        y={"when": "a or c", "block": 0.5},
        z={"when": "not a", "block": 0.9},
    )
    flags = unsure_categories(found, {"s": np.array([False, True])})
    scores = final_scores(found, np.array([[0.8], [0.8]]), {"s": np.array([0.1, 0.1])}, flags)
    assert scores[:, 2:] == pytest.approx(np.array([[0.8, 0.8, 0.2], [0.0, 0.8, 0.2]]))
    levels = final_levels(found, scores, np.array([[2], [2]]), flags)
    assert levels.tolist() == [[2, 0, 2, 2, 0], [2, 1, 1, 2, 0]]


def test_a_signal_that_was_not_read_is_never_guessed() -> None:
    found = plan(
        {"s": "text", "near": "probe"},
        a={"probe": {"signal": "near", "weight": 0.5}},
        b={},
        c={"signal": "s", "calibration": {"kind": "isotonic", "points": [[0, 0], [1, 1]]}},
        x={"when": "b and not c"},
        y={"when": "b or a"},
        z={"when": "not b"},
    )
    scores = final_scores(found, np.full((2, 2), 0.3), {"s": np.array([0.5, np.nan])}, None)
    assert np.isnan(scores).tolist() == [
        [True, False, False, False, True, False],
        [True, False, True, True, True, False],
    ]


def test_thresholds_meet_scores_without_rounding() -> None:
    found = plan({"s": "text"}, c={"signal": "s", "review": 0.3, "block": 0.7})
    values = [0.3, np.nextafter(0.3, 0), 0.7, np.nextafter(0.7, 0)]
    scores = final_scores(found, np.empty((4, 0)), {"s": np.array(values)}, None)
    assert final_levels(found, scores, np.empty((4, 0), np.int8), None)[:, 0].tolist() == [1, 0, 2, 1]
