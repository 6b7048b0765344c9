import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve

from moderator.tuning.evaluation_metrics import (
    NOTHING,
    Estimate,
    difference,
    expected_calibration_error,
    f1,
    ranking_figures,
    share,
)


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Truth with both kinds, and scores with ties."""
    count = draw(st.integers(2, 40))
    truth = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    truth[0], truth[-1] = True, False
    scores = np.array(draw(st.lists(st.integers(0, 8), min_size=count, max_size=count))) / 8
    return truth, scores


@given(judged(), st.floats(0, 1))
def test_figures_are_those_of_scikit_learn(data: tuple[np.ndarray, np.ndarray], wanted: float) -> None:
    truth, scores = data
    figures = ranking_figures(truth, scores, [wanted], resamples=0)
    assert figures.roc_auc.value == pytest.approx(roc_auc_score(truth, scores))
    assert figures.average_precision.value == pytest.approx(average_precision_score(truth, scores))
    alarms, found, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert figures.recall_at[0].value == pytest.approx(found[alarms <= wanted + 1e-9].max())


@given(judged(), st.sampled_from([0.0, 0.1, 0.5]))
def test_a_threshold_flags_what_its_recall_says(data: tuple[np.ndarray, np.ndarray], wanted: float) -> None:
    truth, scores = data
    figures = ranking_figures(truth, scores, [wanted], resamples=0)
    threshold = figures.thresholds[0] if figures.thresholds[0] is not None else np.inf
    assert (scores[~truth] >= threshold).mean() <= wanted + 1e-9
    assert (scores[truth] >= threshold).mean() == pytest.approx(figures.recall_at[0].value)


def test_the_bootstrap_agrees_with_drawing_one_by_one() -> None:
    rng = np.random.default_rng(1)
    truth = np.arange(200) < 60
    scores = rng.normal(truth * 1.2)
    figures = ranking_figures(truth, scores, resamples=2000)
    again = np.random.default_rng(2)
    drawn = []
    for _ in range(200):
        rows = np.concatenate([again.choice(60, 60), 60 + again.choice(140, 140)])
        drawn.append(roc_auc_score(truth[rows], scores[rows]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert figures.roc_auc.low == pytest.approx(low, abs=0.02)
    assert figures.roc_auc.high == pytest.approx(high, abs=0.02)


def test_the_bootstrap_has_a_seed() -> None:
    truth, scores = np.arange(30) < 9, np.sin(np.arange(30))
    assert ranking_figures(truth, scores) == ranking_figures(truth, scores)
    assert ranking_figures(truth, scores) != ranking_figures(truth, scores, seed=1)


def test_one_kind_alone_says_nothing() -> None:
    figures = ranking_figures(np.zeros(5, dtype=bool), np.arange(5.0))
    assert figures.roc_auc == figures.recall_at[0] == NOTHING
    assert figures.thresholds == (None, None)


@given(st.integers(0, 200), st.integers(1, 200))
def test_an_interval_holds_its_share(hits: int, total: int) -> None:
    hits = min(hits, total)
    found = share(hits, total)
    assert found.low is not None
    assert found.high is not None
    assert found.value == hits / total
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0  # also of none and of all


def test_wilsons_interval_is_the_published_one() -> None:
    found = share(81, 263)  # Newcombe (1998), table I, method 3
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert share(0, 0) == NOTHING


def test_newcombes_interval_is_the_published_one() -> None:
    found = difference(share(56, 70), share(48, 80))  # Newcombe (1998), table II, method 10
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))
    assert difference(share(1, 2), NOTHING) == NOTHING


@given(judged())
def test_f1_is_that_of_scikit_learn(data: tuple[np.ndarray, np.ndarray]) -> None:
    truth, scores = data
    flagged = scores >= 0.5
    ours = f1(int((flagged & truth).sum()), int((flagged & ~truth).sum()), int((~flagged & truth).sum()))
    assert ours == pytest.approx(f1_score(truth, flagged, zero_division=0))


def test_calibration_error_is_the_mean_distance_in_the_bins() -> None:
    truth = np.array([True, True, False, False, True])
    scores = np.array([0.9, 0.95, 0.92, 0.1, 1.0])
    # Bin 9: mean 0.9425, share 3 of 4; bin 1: mean 0.1, share 0.
    assert expected_calibration_error(truth, scores) == pytest.approx((4 * 0.1925 + 0.1) / 5)
    assert expected_calibration_error(truth[:0], scores[:0]) is None


def test_perfect_scores_of_few_images_are_not_certain() -> None:
    truth = np.arange(16) < 6
    figures = ranking_figures(truth, truth.astype(float))
    assert figures.roc_auc == Estimate(1.0)
    assert figures.recall_at[1].value == 1
    assert figures.recall_at[1].low == share(6, 6).low
