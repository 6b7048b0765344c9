"""The figure that a tuning is judged by: mean recall over categories where 5 % of other images are flagged. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.tuning.rank_objective import Flags, Floats, recall_at

#: Share of the images that do not show a category which it flags.
REPORTED_SHARE = 0.05
RESAMPLES = 500


@dataclass(frozen=True)
class MacroRecall:
    """The mean over the categories that some images show, with an interval that holds 95 of 100 times."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether a value lies in the interval."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high


def macro_recall(truth: NDArray[np.bool_], scores: Floats, seed: int = 0) -> MacroRecall:
    """Return the figure with a bootstrap interval, for which images of each kind are drawn separately.

    Args:
        truth: bool [n, C], whether each image shows each category.
        scores: [n, C]; categories with a score that is not finite are left out.
        seed: of the bootstrap.
    """
    columns = [c for c in range(truth.shape[1]) if truth[:, c].any() and np.isfinite(scores[:, c]).all()]
    if not columns:
        return MacroRecall(None)
    truth, scores = truth[:, columns], scores[:, columns]
    _, kinds = np.unique(truth, axis=0, return_inverse=True)
    members = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    random = np.random.default_rng(seed)
    drawn = [
        _mean(truth[rows], scores[rows])
        for rows in (
            np.concatenate([random.choice(group, len(group)) for group in members]) for _ in range(RESAMPLES)
        )
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return MacroRecall(_mean(truth, scores), float(low), float(high))


def _mean(truth: Flags, scores: Floats) -> float:
    return float(
        np.mean([recall_at(truth[:, c], scores[:, c], REPORTED_SHARE) for c in range(truth.shape[1])])
    )
