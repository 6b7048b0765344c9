import numpy as np
import pytest

from moderator.policies.calibration_schema import PlattCalibration
from moderator.policies.category_schema import Category, Rule
from moderator.policies.fields import NEVER
from moderator.tuning.tuning_scales import cut_of, scale_at

SPEC = Category(unsafe=("a gun",), midpoint=0.37, review=0.5, block=0.75)


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def test_a_midpoint_moves_the_cut_to_the_threshold() -> None:
    scale = scale_at(SPEC, 1.3)
    assert (scale.review, scale.block) == (0.5, 0.75)
    assert 1.3 - logit(scale.midpoint) == pytest.approx(logit(0.5), abs=1e-3)


def test_a_midpoint_moves_only_the_words_beside_a_probe() -> None:
    scale = scale_at(SPEC, 1.3, probe_weight=0.25)
    words, probe = 2.0, -0.8  # 0.75 * 2.0 - 0.25 * 0.8 = 1.3
    assert 0.75 * (words - logit(scale.midpoint)) + 0.25 * probe == pytest.approx(0, abs=1e-3)


def test_calibrated_thresholds_move_instead() -> None:
    platt = PlattCalibration(kind="platt", slope=0.5, offset=-1.0)
    scale = scale_at(SPEC, 1.3, calibration=platt)
    assert scale.review is not None
    assert logit(scale.review) == pytest.approx(0.5 * 1.3 - 1, abs=1e-3)
    assert logit(scale.block) == pytest.approx(0.5 * (1.3 + logit(0.75)) - 1, abs=1e-3)
    assert (scale.midpoint, scale.calibration) == (0.5, platt)


def test_what_blocks_never_still_does_not() -> None:
    assert scale_at(SPEC.model_copy(update={"block": NEVER}), -0.4).block == NEVER


def test_a_rule_without_midpoints_gets_thresholds() -> None:
    spec = Category(unsafe=("a gun",), rule=Rule.SIGMOID, block=0.5)
    scale = scale_at(spec, -1.0)
    assert scale.review is None
    assert logit(scale.block) == pytest.approx(-1, abs=1e-3)


def test_a_cut_beyond_every_midpoint_moves_the_thresholds() -> None:
    scale = scale_at(SPEC, 12.0)
    assert scale.midpoint == 0.5
    assert scale.review is None or scale.review < scale.block


def test_the_cut_of_todays_threshold() -> None:
    assert scale_at(SPEC, cut_of(SPEC, 0.5)).midpoint == pytest.approx(SPEC.midpoint, abs=1e-4)
