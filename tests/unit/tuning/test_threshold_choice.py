import numpy as np
import pytest

from moderator.errors import TargetInvalid
from moderator.tuning.threshold_choice import (
    TargetKind,
    choose_thresholds,
    parse_target,
    threshold_of_rate,
)

ODDS = np.arange(100.0)[:, None] * np.array([1.0, -1.0])
TRUTH = np.stack([np.arange(100) >= 90, np.zeros(100, dtype=bool)], axis=1)
SAFE = np.arange(100) < 90


@pytest.mark.parametrize(
    ("text", "per_day", "kind", "share"),
    [
        ("fpr<=1%", None, TargetKind.FALSE_POSITIVES, 0.01),
        ("recall >= 95 %", None, TargetKind.RECALL, 0.95),
        ("review<=200/day", 10_000, TargetKind.REVIEW_LOAD, 0.02),
    ],
)
def test_targets(text: str, per_day: int | None, kind: TargetKind, share: float) -> None:
    target = parse_target(text, per_day)
    assert (target.kind, target.share) == (kind, pytest.approx(share))


@pytest.mark.parametrize(
    ("text", "per_day"),
    [
        ("fpr<1%", None),
        ("fpr<=1", None),
        ("fpr<=5/day", None),
        ("recall>=200%", None),
        ("review<=200/day", None),
        ("review<=200/day", 100),
        ("review<=2%", 100),
        ("", None),
    ],
)
def test_what_is_no_target_is_refused(text: str, per_day: int | None) -> None:
    with pytest.raises(TargetInvalid):
        parse_target(text, per_day)


def test_false_positives_are_bounded_where_a_category_is_shown() -> None:
    cut, unknown = choose_thresholds(ODDS, TRUTH, SAFE, parse_target("fpr<=10%"))
    assert unknown is None
    assert cut is not None
    assert (ODDS[~TRUTH[:, 0], 0] >= cut).sum() == 9


def test_a_share_of_none_flags_none() -> None:
    cut, _ = choose_thresholds(ODDS, TRUTH, SAFE, parse_target("fpr<=0%"))
    assert cut is not None
    assert 89 < cut < 90


def test_recall_is_reached() -> None:
    cut, _ = choose_thresholds(ODDS, TRUTH, SAFE, parse_target("recall>=80%"))
    assert cut is not None
    assert (ODDS[TRUTH[:, 0], 0] >= cut).sum() == 8


def test_the_review_load_is_that_of_all_categories() -> None:
    cuts = choose_thresholds(ODDS, TRUTH, SAFE, parse_target("review<=100/day", 1000))
    assert None not in cuts
    flagged = (ODDS[SAFE] >= np.array(cuts, dtype=float)).any(axis=1)
    assert flagged.sum() == 8  # four of each category: five would be more than a tenth


def test_rates_are_kept_on_another_scale() -> None:
    random = np.random.default_rng(0)
    old = random.normal(size=500)
    new = 3 * old - 1 + 0.1 * random.normal(size=500)
    for cut in (-1.0, 0.5, 2.0):
        assert (new >= threshold_of_rate(old, cut, new)).sum() == (old >= cut).sum()
    assert threshold_of_rate(old, old.max() + 2, new) == pytest.approx(new.max() + 2)
    assert threshold_of_rate(old, old.min() - 2, new) == pytest.approx(new.min() - 2)
