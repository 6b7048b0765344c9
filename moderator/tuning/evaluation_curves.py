"""Curves over all thresholds: what another threshold would find, cost, calibration, and histograms of scores. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.tuning.evaluation_metrics import Estimate, Flags, Numbers, bin_numbers, share

#: Points of curves, and bins of histograms and of calibration.
SWEEP_POINTS, COST_POINTS = 101, 51
HISTOGRAM_BINS, CALIBRATION_BINS = 40, 10


@dataclass(frozen=True, eq=False)
class ThresholdSweep:
    """What each threshold from 0 to 1 would flag."""

    thresholds: Numbers
    """[points]"""
    found: Numbers
    """Share of the images that show the category; NaN: there are none."""
    alarms: Numbers
    """Share of the others, likewise."""


@dataclass(frozen=True, eq=False)
class CostCurve:
    """Expected cost over how much misses weigh (Drummond and Holte, 2006, "Cost Curves").

    With the share p of images that show the category, the cost m of a miss and a of a false alarm, the weight is
    w = p m / (p m + (1 - p) a), and a threshold with the miss rate f and the alarm rate g costs f w + g (1 - w): 0 for
    no mistake at all, 1 for all the mistakes there can be.
    """

    weights: Numbers
    """[points] from 0 to 1."""
    best: Numbers
    """Cost of the best threshold for each weight: the lower envelope of all of them."""


@dataclass(frozen=True)
class CalibrationBin:
    """Images whose scores lie in a range."""

    low: float
    high: float
    images: int
    mean_score: float
    share: Estimate
    """Of those that show the category."""


def threshold_sweep(truth: Flags, scores: Numbers, points: int = SWEEP_POINTS) -> ThresholdSweep:
    """Return what thresholds from 0 to 1 would flag: all scores from the threshold on."""
    thresholds = np.linspace(0, 1, points)
    return ThresholdSweep(
        thresholds, _share_from(scores[truth], thresholds), _share_from(scores[~truth], thresholds)
    )


def cost_curve(truth: Flags, scores: Numbers, points: int = COST_POINTS) -> CostCurve | None:
    """Return the lowest cost that any threshold reaches; None without images of both kinds."""
    if truth.all() or not truth.any():
        return None
    thresholds = np.append(np.unique(scores), np.inf)
    missed = 1 - _share_from(scores[truth], thresholds)
    alarms = _share_from(scores[~truth], thresholds)
    weights = np.linspace(0, 1, points)
    best = np.full(points, np.inf)
    for at in range(0, len(thresholds), 4096):  # bounds memory
        part = slice(at, at + 4096)
        costs = np.outer(weights, missed[part]) + np.outer(1 - weights, alarms[part])
        best = np.minimum(best, costs.min(axis=1))
    return CostCurve(weights, best)


def point_cost(weights: Numbers, found: float, alarms: float) -> Numbers:
    """Return the cost of one threshold over weights, from the shares that it finds and that it flags falsely."""
    return (1 - found) * weights + alarms * (1 - weights)


def calibration_bins(
    truth: Flags, scores: Numbers, bins: int = CALIBRATION_BINS
) -> tuple[CalibrationBin, ...]:
    """Return the bins that hold images: equal widths, as in a reliability diagram."""
    groups = bin_numbers(scores, bins)
    images, positives = np.bincount(groups, minlength=bins), np.bincount(groups, truth, bins)
    totals = np.bincount(groups, scores, bins)
    return tuple(
        CalibrationBin(
            n / bins,
            (n + 1) / bins,
            int(images[n]),
            float(totals[n] / images[n]),
            share(int(positives[n]), int(images[n])),
        )
        for n in np.flatnonzero(images)
    )


def histogram(scores: Numbers, bins: int = HISTOGRAM_BINS) -> NDArray[np.int64]:
    """Return how many scores lie in each of some bins of equal width from 0 to 1, int [bins]."""
    return np.bincount(bin_numbers(scores, bins), minlength=bins)


def _share_from(scores: Numbers, thresholds: Numbers) -> Numbers:
    """Return the share of scores from each threshold on."""
    if not len(scores):
        return np.full(len(thresholds), np.nan)
    # In float64, as thresholds are compared when an image is judged.
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    return 1 - np.searchsorted(ordered, thresholds, side="left") / len(ordered)
