import numpy as np
import pytest

from benchmarks.calibrate import Set, expit, threshold_at
from benchmarks.quality import Photograph


@pytest.mark.parametrize(("rate", "flagged"), [(0.0, 0), (0.009, 0), (0.01, 1), (0.05, 5)])
def test_a_threshold_flags_at_most_the_stated_share(rate: float, flagged: int) -> None:
    negatives = np.random.default_rng(0).permutation(np.linspace(-3, 3, 100))
    threshold = threshold_at(negatives, rate)
    assert (negatives >= threshold).sum() == flagged
    assert not np.isin(threshold, negatives), "between two photographs"


def test_a_half_has_half_of_each_label() -> None:
    photographs = [
        Photograph(str(n), frozenset({label} - {"safe"}))
        for label, count in (("safe", 30), ("weapons", 10), ("smoking", 7))
        for n in range(count)
    ]
    judged = Set(photographs, {})
    for seed in range(4):
        half = judged.halves(seed)
        assert half[judged.safe].sum() == 15
        assert half[judged.shows("weapons")].sum() == 5
        assert half[judged.shows("smoking")].sum() in (3, 4)
    assert (judged.halves(0) != judged.halves(2)).any()


def test_log_odds_of_one_half() -> None:
    assert expit(0) == 0.5
    assert expit(2) == pytest.approx(1 - expit(-2))
