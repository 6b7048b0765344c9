import numpy as np
import pytest

from moderator.policies.calibration_schema import MAX_POINTS, IsotonicCalibration, PlattCalibration
from moderator.tuning.calibration import calibrate, fit_isotonic, fit_platt, log_loss
from moderator.tuning.evaluation_metrics import expected_calibration_error

RANDOM = np.random.default_rng(4)
ODDS = RANDOM.normal(size=3000) * 2
#: The score is overconfident by the factor 2, and off by 1.
TRUTH = RANDOM.random(3000) < 1 / (1 + np.exp(-(0.5 * ODDS - 1)))


def test_platt_finds_slope_and_offset() -> None:
    fitted = fit_platt(ODDS, TRUTH)
    assert fitted.slope == pytest.approx(0.5, abs=0.08)
    assert fitted.offset == pytest.approx(-1, abs=0.15)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_calibrated_scores_are_shares(fit: "type") -> None:
    half = np.arange(3000) < 1500
    fitted: PlattCalibration | IsotonicCalibration = fit(ODDS[half], TRUTH[half])
    raw, scores = 1 / (1 + np.exp(-ODDS[~half])), calibrate(fitted, ODDS[~half])
    error, before = (expected_calibration_error(TRUTH[~half], one) or 0.0 for one in (scores, raw))
    assert error < before / 3
    assert log_loss(scores, TRUTH[~half]) < log_loss(raw, TRUTH[~half])


def test_isotonic_keeps_the_order_and_few_points() -> None:
    fitted = fit_isotonic(ODDS, TRUTH)
    assert len(fitted.points) <= MAX_POINTS
    scores = calibrate(fitted, np.sort(ODDS))
    assert (np.diff(scores) >= 0).all()


@pytest.mark.parametrize("gap", [1.0, 8.0])
def test_what_separates_perfectly_has_a_finite_slope(gap: float) -> None:
    odds = np.concatenate([np.linspace(-3, -gap / 2, 20), np.linspace(gap / 2, 3 + gap, 20)])
    fitted = fit_platt(odds, odds > 0)
    assert 0 < fitted.slope < 100
    assert calibrate(fitted, odds)[-1] > 0.8
