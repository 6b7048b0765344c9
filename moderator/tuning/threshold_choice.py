"""Choose thresholds for a target, on the log-odds of scores. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from moderator.errors import TargetInvalid
from moderator.printable import printable

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: How far above the highest score a threshold is that must flag nothing, in log-odds.
MARGIN_LOGITS = 0.05
_TARGET = re.compile(r"(fpr<=|recall>=|review<=)\s*(\d+(?:\.\d+)?)\s*(%|/day)?")


class TargetKind(StrEnum):
    """What a target bounds."""

    FALSE_POSITIVES = "fpr"
    """In each category, the share that is flagged of the images that do not show it."""
    RECALL = "recall"
    """In each category, the share that is flagged of the images that show it."""
    REVIEW_LOAD = "review"
    """The share that any category flags of the safe images: what most uploads are."""


@dataclass(frozen=True)
class TuningTarget:
    """What thresholds are chosen for."""

    kind: TargetKind
    share: float
    text: str


def parse_target(text: str, per_day: int | None = None) -> TuningTarget:
    """Read `fpr<=1%`, `recall>=95%` or `review<=200/day`; the last needs the number of uploads a day.

    Raises:
        TargetInvalid: it is none of these.
    """
    match = _TARGET.fullmatch(text.replace(" ", ""))
    if match is None:
        raise TargetInvalid(
            f"{printable(text)!r} is no target; write 'fpr<=1%', 'recall>=95%' or 'review<=200/day'"
        )
    kind, number, unit = TargetKind(match[1][:-2]), float(match[2]), match[3]
    if unit != ("/day" if kind is TargetKind.REVIEW_LOAD else "%"):
        right = "/day" if kind is TargetKind.REVIEW_LOAD else "%"
        raise TargetInvalid(
            f"{printable(text)!r}: {kind} is given with {right}, such as {kind}{match[1][-2:]}5{right}"
        )
    if kind is TargetKind.REVIEW_LOAD:
        if per_day is None:
            raise TargetInvalid(f"{printable(text)!r} needs the number of uploads a day: --per-day 10000")
        share = number / per_day
    else:
        share = number / 100
    if not 0 <= share <= 1:
        raise TargetInvalid(f"{printable(text)!r} is a share of {share:.0%}; it has to be from 0 to 100 %")
    return TuningTarget(kind, share, text)


def threshold_flagging(negatives: Floats, share: float) -> float:
    """Return the lowest log-odds that flag at most this share: halfway between two neighbours in the order."""
    order = np.sort(negatives)[::-1]
    allowed = min(int(share * len(order) + 1e-9), len(order) - 1)
    return float((order[allowed - 1] + order[allowed]) / 2) if allowed else float(order[0] + MARGIN_LOGITS)


def threshold_of_rate(old: Floats, old_cut: float, new: Floats) -> float:
    """Return the threshold that flags as many images by new log-odds as `old_cut` does by old ones (quantile matching).

    Where it flags none, or all, it stays as far from the nearest score as it was.
    """
    count = int((old >= old_cut).sum())
    order = np.sort(new)[::-1]
    if count == 0:
        return float(order[0] + old_cut - old.max())
    if count == len(order):
        return float(order[-1] - (old.min() - old_cut))
    return float((order[count - 1] + order[count]) / 2)


def threshold_finding(odds: Floats, truth: Flags, share: float) -> float:
    """Return the highest log-odds from which at least this share of the positives is found."""
    order = np.sort(odds[truth])[::-1]
    last = order[max(0, int(np.ceil(share * len(order) - 1e-9)) - 1)]
    below = odds[odds < last]
    return float((last + below.max()) / 2) if len(below) else float(last - MARGIN_LOGITS)


def choose_thresholds(odds: Floats, truth: Flags, safe: Flags, target: TuningTarget) -> list[float | None]:
    """Return the log-odds of each category from which images are flagged; None: nothing to choose them by.

    If no image shows a category, only a review load moves its threshold: what that would lose is not known.

    Args:
        odds: float64 [n, C], without midpoint and calibration.
        truth: bool [n, C], whether an image shows a category.
        safe: bool [n], whether it shows nothing that is not allowed.
        target: what the thresholds are for.
    """
    columns = range(odds.shape[1])
    match target.kind:
        case TargetKind.RECALL:
            return [
                threshold_finding(odds[:, c], truth[:, c], target.share) if truth[:, c].any() else None
                for c in columns
            ]
        case TargetKind.FALSE_POSITIVES:
            return [
                threshold_flagging(odds[~truth[:, c], c], target.share)
                if truth[:, c].any() and not truth[:, c].all()
                else None
                for c in columns
            ]
    if not safe.any():
        return [None for _ in columns]
    return list(_equal_shares(odds[safe], target.share))


def _equal_shares(safe: Floats, budget: float) -> list[float]:
    """Return thresholds that flag the same share in each category, and at most `budget` in all together."""
    best = [threshold_flagging(column, 0) for column in safe.T]
    for count in range(1, len(safe) + 1):
        thresholds = [threshold_flagging(column, count / len(safe)) for column in safe.T]
        if (safe >= thresholds).any(axis=1).mean() > budget + 1e-9:
            break
        best = thresholds
    return best
