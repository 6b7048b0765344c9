"""What prompts and probes are chosen by: how far positives stand above the highest negatives. Pure."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Share of the negatives, the highest, that positives are compared with: where thresholds lie.
HARD_SHARE = 0.15


def recall_at(truth: Flags, scores: Floats, share: float) -> float:
    """Return the share of positives above the threshold that at most `share` of the negatives exceed."""
    negatives = np.sort(scores[~truth])[::-1]
    threshold = negatives[min(int(share * len(negatives) + 1e-9), len(negatives) - 1)]
    return float((scores[truth] > threshold).mean())


def hard_bars(negatives: Floats) -> Floats:
    """Return the scores of the hardest negatives of each column, highest first: [k, columns]."""
    count = max(1, round(HARD_SHARE * len(negatives)))
    kept: Floats = -np.sort(-np.partition(negatives, len(negatives) - count, axis=0)[-count:], axis=0)
    return kept[:: max(1, count // 12)]


def gains(positives: Floats, bars: Floats) -> Floats:
    """Return the mean log-likelihood that a positive stands above a hard negative: [p, columns].

    A smooth stand-in for recall at low shares of false alarms, as the pairwise logistic loss is for ROC-AUC (Burges
    et al., 2005, "Learning to Rank using Gradient Descent"). Recall itself moves in steps of one image, so a search
    would follow chance.
    """
    total = np.zeros_like(positives)
    for bar in bars:
        total -= np.logaddexp(0, bar - positives)
    return total / len(bars)
