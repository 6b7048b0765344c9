"""Fit calibrations, after which a score is about the share of such images that show the category. Pure.

The share is that of the labelled images. Uploads seldom show what is not allowed as often, so read a calibrated score
as an order with a meaning on this set, and choose thresholds by a target.
"""

import numpy as np
from numpy.typing import NDArray

from moderator.policies.calibration_schema import (
    MAX_OFFSET,
    MAX_POINTS,
    MAX_SLOPE,
    MIN_SLOPE,
    Calibration,
    IsotonicCalibration,
    PlattCalibration,
)
from moderator.scoring.score_calibration import expit, isotonic, platt

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_NEWTON_STEPS_MAX = 100


def fit_platt(odds: Floats, truth: Flags) -> PlattCalibration:
    """Fit slope and offset to log-odds by maximum likelihood, with Platt's (1999) targets: nearly 0 and 1."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    wanted = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.column_stack([odds, np.ones(len(odds))])
    solution = np.array([1.0, np.log((positives + 1) / (negatives + 1))])
    for _ in range(_NEWTON_STEPS_MAX):
        p = expit(design @ solution)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (p - wanted))
        solution -= step * min(1.0, 5 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    slope = float(np.clip(solution[0], MIN_SLOPE, MAX_SLOPE))
    return PlattCalibration(
        kind="platt",
        slope=float(f"{slope:.5g}"),
        offset=float(f"{np.clip(solution[1], -MAX_OFFSET, MAX_OFFSET):.5g}"),
    )


def fit_isotonic(odds: Floats, truth: Flags) -> IsotonicCalibration:
    """Fit a curve that never falls (Zadrozny and Elkan, 2002), by pooling adjacent violators.

    Its points are the means of the pools, and the ends of the scale, so that it rises everywhere between them: equal
    scores for different images would leave thresholds no choice.
    """
    order = np.argsort(odds, kind="stable")
    pools: list[list[float]] = []  # sum of scores, sum of truth, count
    for score, shown in zip(expit(odds[order]), truth[order], strict=True):
        pools.append([float(score), float(shown), 1.0])
        while len(pools) > 1 and pools[-2][1] * pools[-1][2] >= pools[-1][1] * pools[-2][2]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last, strict=True)]
    points = [(score / count, shown / count) for score, shown, count in pools]
    if len(points) > MAX_POINTS - 2:
        kept = np.unique(np.linspace(0, len(points) - 1, MAX_POINTS - 2).round().astype(int))
        points = [points[n] for n in kept]
    rounded = [(float(f"{x:.6g}"), float(f"{y:.6g}")) for x, y in points]
    inside = [
        point
        for n, point in enumerate(rounded)
        if 0 < point[0] < 1 and (n == 0 or point[0] > rounded[n - 1][0])
    ]
    return IsotonicCalibration(kind="isotonic", points=((0.0, 0.0), *inside, (1.0, 1.0)))


def calibrate(calibration: Calibration, odds: Floats) -> Floats:
    """Return the calibrated scores of log-odds."""
    scores = expit(odds)
    if isinstance(calibration, PlattCalibration):
        return platt(scores, np.array(calibration.slope), np.array(calibration.offset))
    return isotonic(scores, np.array(calibration.points))


def log_loss(scores: Floats, truth: Flags) -> float:
    """Return the mean negative log-likelihood of the truth."""
    inside = np.clip(scores, 1e-7, 1 - 1e-7)
    return float(-np.log(np.where(truth, inside, 1 - inside)).mean())
