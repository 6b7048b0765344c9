"""Figures of a detector from truth and scores, with intervals. Pure.

Intervals hold 95 of 100 times. Those of shares are Wilson's (1927); those of figures that depend on the order of scores
come from a bootstrap in which images that show the category, and those that do not, are drawn separately (Efron and
Tibshirani, 1993, chapters 6 and 13).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Numbers = NDArray[np.floating]

#: Standard deviations of the normal distribution that hold 95 %.
NORMAL_95 = 1.959964
#: Samples of the bootstrap: at most so many, and fewer for many images, down to a fifth.
RESAMPLES, RESAMPLED_IMAGES = 1000, 20_000_000
#: Most numbers of one array of the bootstrap.
_RESAMPLED_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; None where the images say nothing about it."""

    value: float | None
    low: float | None = None
    high: float | None = None


NOTHING = Estimate(None)


@dataclass(frozen=True)
class RankingFigures:
    """How well scores separate images that show a category from others."""

    roc_auc: Estimate = NOTHING
    average_precision: Estimate = NOTHING
    recall_at: tuple[Estimate, ...] = ()
    """For each of the given shares of false alarms."""
    thresholds: tuple[float | None, ...] = ()
    """The lowest score that flags no more than each of these shares; None: the highest score flags more."""


def share(hits: int, total: int) -> Estimate:
    """Return hits / total with Wilson's score interval (Wilson, 1927)."""
    if total == 0:
        return NOTHING
    p, z2 = hits / total, NORMAL_95**2
    middle = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = NORMAL_95 / (1 + z2 / total) * math.sqrt(p * (1 - p) / total + z2 / (4 * total**2))
    return Estimate(p, max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half)))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Return first - second with its interval, from those of two independent shares (Newcombe, 1998, method 10)."""
    if None in (first.value, first.low, first.high, second.value, second.low, second.high):
        return NOTHING
    p, low_p, high_p = (float(v or 0) for v in (first.value, first.low, first.high))
    q, low_q, high_q = (float(v or 0) for v in (second.value, second.low, second.high))
    return Estimate(
        p - q, p - q - math.hypot(p - low_p, high_q - q), p - q + math.hypot(high_p - p, q - low_q)
    )


def f1(hits: int, alarms: int, missed: int) -> float | None:
    """Return the harmonic mean of precision and recall: 2 hits / (2 hits + alarms + missed)."""
    total = 2 * hits + alarms + missed
    return 2 * hits / total if total else None


def ranking_figures(
    truth: Flags,
    scores: Numbers,
    shares: Sequence[float] = (0.01, 0.05),
    resamples: int | None = None,
    seed: int = 0,
) -> RankingFigures:
    """Return ROC-AUC, average precision, and recall where at most some shares of the others are flagged.

    Args:
        truth: bool [n], whether each image shows the category.
        scores: [n], finite.
        shares: of false alarms.
        resamples: of the bootstrap; 0: no intervals; None: as many as suit the number of images.
        seed: of the bootstrap.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return RankingFigures(recall_at=(NOTHING,) * len(shares), thresholds=(None,) * len(shares))
    if resamples is None:
        resamples = min(RESAMPLES, max(RESAMPLES // 5, RESAMPLED_IMAGES // len(truth)))
    order = np.argsort(-scores, kind="stable")
    truth, scores = truth[order], scores[order]
    # Images of one score are flagged together.
    starts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))
    found = np.add.reduceat(truth.astype(np.int64), starts)[None]
    alarms = np.add.reduceat((~truth).astype(np.int64), starts)[None]
    values = _figures(found, alarms, shares)[0]
    spread = _bootstrap(truth, starts, shares, resamples, np.random.default_rng(seed))
    figures = [_estimate(value, column) for value, column in zip(values, spread.T, strict=True)]
    # Where all are found, or none, all samples agree, and only the number of images says how sure that is.
    recalls = [_wider(one, share(round((one.value or 0) * positives), positives)) for one in figures[2:]]
    flagged = np.cumsum(alarms[0])
    thresholds = []
    for one in shares:
        groups = int((flagged <= _allowed(one, negatives)).sum())
        thresholds.append(float(scores[starts[groups - 1]]) if groups else None)
    return RankingFigures(figures[0], figures[1], tuple(recalls), tuple(thresholds))


def expected_calibration_error(truth: Flags, scores: Numbers, bins: int = 10) -> float | None:
    """Return the mean distance of score and share of positives over bins of equal width, weighted by their images.

    Naeini, Cooper and Hauskrecht (2015), "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
    """
    if not len(scores):
        return None
    groups = bin_numbers(scores, bins)
    distances = np.bincount(groups, scores, bins) - np.bincount(groups, truth, bins)
    return float(np.abs(distances).sum() / len(scores))


def bin_numbers(scores: Numbers, bins: int) -> NDArray[np.int64]:
    """Return the bin of each score in [0, 1], int [n]; the last bin includes 1."""
    return np.minimum((np.asarray(scores, dtype=np.float64) * bins).astype(np.int64), bins - 1)


def _allowed(share_: float, negatives: int) -> int:
    return int(share_ * negatives + 1e-9)


def _figures(found: NDArray[np.int64], alarms: NDArray[np.int64], shares: Sequence[float]) -> Numbers:
    """Return ROC-AUC, average precision and recalls of samples -> float64 [samples, 2 + shares].

    Args:
        found: int [samples, groups], positives of each score, the highest score first.
        alarms: int [samples, groups], negatives likewise.
        shares: of false alarms.
    """
    recalled, flagged = np.cumsum(found, axis=1), np.cumsum(alarms, axis=1)
    positives, negatives = recalled[:, -1], flagged[:, -1]
    # A positive wins against the negatives below it, and half against those of the same score.
    wins = (found * (negatives[:, None] - flagged + 0.5 * alarms)).sum(axis=1)
    precision = recalled / np.maximum(recalled + flagged, 1)
    columns: list[NDArray[np.floating]] = [
        wins / (positives * negatives),
        (found * precision).sum(axis=1) / positives,
    ]
    for one in shares:
        groups = (flagged <= _allowed(one, int(negatives[0]))).sum(axis=1)
        reached = np.take_along_axis(recalled, np.maximum(groups - 1, 0)[:, None], axis=1)[:, 0]
        columns.append(np.where(groups > 0, reached / positives, 0.0).astype(np.float64))
    return np.stack(columns, axis=1)


def _bootstrap(
    truth: Flags, starts: NDArray[np.int64], shares: Sequence[float], resamples: int, rng: np.random.Generator
) -> Numbers:
    """Return the figures of samples drawn with replacement -> float64 [resamples, figures]."""
    sides = (np.flatnonzero(truth), np.flatnonzero(~truth))
    parts: list[Numbers] = [np.empty((0, 2 + len(shares)))]
    at_once = max(1, _RESAMPLED_AT_ONCE // len(truth))
    for at in range(0, resamples, at_once):
        count = min(at_once, resamples - at)
        counts = []
        for side in sides:
            drawn = side[rng.integers(0, len(side), (count, len(side)))]
            drawn += np.arange(count)[:, None] * len(truth)
            each = np.bincount(drawn.ravel(), minlength=count * len(truth)).reshape(count, -1)
            counts.append(np.add.reduceat(each, starts, axis=1))
        parts.append(_figures(counts[0], counts[1], shares))
    return np.concatenate(parts)


def _estimate(value: float, spread: Numbers) -> Estimate:
    if not len(spread) or np.ptp(spread) == 0:  # samples that all agree say nothing of chance
        return Estimate(float(value))
    low, high = np.percentile(spread, [2.5, 97.5])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def _wider(first: Estimate, second: Estimate) -> Estimate:
    """Return the first figure with the interval that holds both."""
    lows = [one.low for one in (first, second) if one.low is not None]
    highs = [one.high for one in (first, second) if one.high is not None]
    return Estimate(first.value, min(lows, default=None), max(highs, default=None))
