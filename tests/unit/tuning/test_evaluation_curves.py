import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from moderator.tuning.evaluation_curves import (
    calibration_bins,
    cost_curve,
    histogram,
    point_cost,
    threshold_sweep,
)

RNG = np.random.default_rng(0)
TRUTH = np.arange(300) < 90
SCORES = np.clip(RNG.normal(0.3 + 0.3 * TRUTH, 0.15), 0, 1).astype(np.float32)


def test_a_sweep_counts_what_each_threshold_flags() -> None:
    sweep = threshold_sweep(TRUTH, SCORES)
    for n in (0, 37, 50, 100):
        flagged = SCORES.astype(float) >= sweep.thresholds[n]
        assert sweep.found[n] == pytest.approx(flagged[TRUTH].mean())
        assert sweep.alarms[n] == pytest.approx(flagged[~TRUTH].mean())
    assert np.isnan(threshold_sweep(TRUTH[:90], SCORES[:90]).alarms).all()


def test_no_threshold_costs_less_than_the_curve() -> None:
    curve = cost_curve(TRUTH, SCORES)
    assert curve is not None
    for threshold in (0, 0.3, 0.45, 0.6, 2):
        flagged = threshold <= SCORES
        cost = point_cost(curve.weights, flagged[TRUTH].mean(), flagged[~TRUTH].mean())
        assert (cost >= curve.best - 1e-12).all()
    assert curve.best[0] == curve.best[-1] == 0  # nothing is flagged, or everything
    assert 0 < curve.best.max() <= 0.5
    assert cost_curve(TRUTH[:90], SCORES[:90]) is None


def test_calibration_bins_are_those_of_scikit_learn() -> None:
    found = calibration_bins(TRUTH, SCORES)
    shares, means = calibration_curve(TRUTH, SCORES, n_bins=10)
    assert [one.share.value for one in found] == pytest.approx(shares.tolist())
    assert [one.mean_score for one in found] == pytest.approx(means.tolist(), abs=1e-6)
    assert sum(one.images for one in found) == 300


def test_a_histogram_holds_every_score() -> None:
    assert histogram(np.array([0, 0.01, 0.5, 1])).tolist() == [2, *[0] * 19, 1, *[0] * 18, 1]
