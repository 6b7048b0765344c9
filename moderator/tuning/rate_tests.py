"""Tests of the difference of two rates. Pure."""

from collections.abc import Sequence
from math import lgamma

import numpy as np

#: Tables as likely as the observed one, within this factor, count as no more likely: sums of logarithms are not exact.
_AS_LIKELY = 1.0 + 1e-7


def fisher_exact(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Return the two-sided p-value of Fisher's exact test (1935): of all tables that are no more likely.

    Args:
        first: hits and total of one group.
        second: of the other.
    """
    (a, n), (c, m) = first, second
    hits = a + c
    low, high = max(0, hits - m), min(hits, n)
    if low == high:
        return 1.0
    # The hypergeometric distribution of the hits of the first group, by the ratios of neighbours.
    k = np.arange(low, high, dtype=np.float64)
    ratios = (hits - k) * (n - k) / ((k + 1) * (m - hits + k + 1))
    start = _choose(n, low) + _choose(m, hits - low) - _choose(n + m, hits)
    logs = start + np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    chances = np.exp(logs)
    return min(1.0, float(chances[chances <= chances[a - low] * _AS_LIKELY].sum()))


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm, 1979): one below 0.05 is then an accident once in 20 reports."""
    order = sorted(range(len(chances)), key=lambda n: chances[n])
    adjusted = [0.0] * len(chances)
    highest = 0.0
    for rank, n in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[n]))
        adjusted[n] = highest
    return adjusted


def _choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
