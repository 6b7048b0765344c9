"""What prompts and probes are chosen by: how far positives stand above the highest negatives. Pure."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Share of the negatives, the highest, that positives are compared with: where thresholds lie.
HARD_SHARE = 0.15
#: Most of them that each positive is compared with.
_COMPARED_MAX = 12
#: The loss is steep over this part of the standard deviation of the negatives. Thus it does not depend on the scale of
#: the scores, which templates and the number of prompts change; see docs/tune.md for what other values do.
STEEP_OVER_DEVIATIONS = 1 / 6


def recall_at(truth: Flags, scores: Floats, share: float) -> float:
    """Return the share of positives above the threshold that at most `share` of the negatives exceed."""
    negatives = np.sort(scores[~truth])[::-1]
    threshold = negatives[min(int(share * len(negatives) + 1e-9), len(negatives) - 1)]
    return float((scores[truth] > threshold).mean())


def separation(scores: Floats, truth: Flags) -> Floats:
    """Return the mean log-likelihood that each positive stands above a hard negative, in nats: [positives, columns].

    A smooth stand-in for recall at low shares of false alarms, as the pairwise logistic loss is for ROC-AUC (Burges
    et al., 2005, "Learning to Rank using Gradient Descent"). Recall itself moves in steps of one image, so a search
    would follow chance.

    Args:
        scores: [n, columns], each column one way to score the images.
        truth: bool [n].
    """
    negatives, positives = scores[~truth], scores[truth]
    count = max(1, round(HARD_SHARE * len(negatives)))
    highest = -np.sort(-np.partition(negatives, len(negatives) - count, axis=0)[-count:], axis=0)
    bars = highest[:: -(-count // _COMPARED_MAX)]
    width = np.maximum(negatives.std(axis=0) * STEEP_OVER_DEVIATIONS, 1e-6)
    total = np.zeros_like(positives)
    for bar in bars:
        total -= np.logaddexp(0, (bar - positives) / width)
    return total / len(bars)
