from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from moderator.identity import Identity
from moderator.signals.kinds.linear_probe import Probe
from moderator.tuning.data_splits import deal
from moderator.tuning.few_shot import ViewRows, enough, fit, fit_logistic, learn
from moderator.tuning.rank_objective import recall_at


@pytest.fixture
def rows() -> ViewRows:
    """120 images of two views each; the whole of each third shows the category, and its second view does not."""
    random = np.random.default_rng(1)
    embeddings = random.normal(size=(240, 12))
    embeddings[0::6, 0] += 6
    return ViewRows(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), np.arange(0, 241, 2))


@pytest.fixture
def truth() -> NDArray[np.bool_]:
    return np.arange(120) % 3 == 0


@pytest.mark.parametrize("count", [8, 200], ids=["fewer than dimensions", "more than dimensions"])
def test_fit_is_that_of_scikit_learn(count: int) -> None:
    random = np.random.default_rng(0)
    features, truth = random.normal(size=(count, 12)), np.arange(count) % 4 == 0
    direction, offset = fit_logistic(features, truth, 10.0)
    other = LogisticRegression(C=10.0, class_weight="balanced", tol=1e-9, max_iter=5000).fit(features, truth)
    assert direction == pytest.approx(other.coef_[0], abs=2e-3)
    assert offset == pytest.approx(other.intercept_[0], abs=2e-3)


def test_a_probe_finds_what_the_words_do_not(rows: ViewRows, truth: NDArray[np.bool_]) -> None:
    words = np.random.default_rng(2).normal(size=120)
    folds = deal(truth.astype(str), np.arange(120), 5, 0)
    seen = np.arange(120) < 90
    probe, tried = learn(rows.subset(seen), truth[seen], words[seen], folds[seen])
    assert tried == 12
    unseen = ~seen
    joined = probe.joined(rows, words)
    assert recall_at(truth[unseen], joined[unseen], 0.1) >= 0.8
    assert recall_at(truth[unseen], words[unseen], 0.1) <= 0.6


def test_the_file_of_a_probe_gives_the_same_score(rows: ViewRows, truth: NDArray[np.bool_]) -> None:
    folds = deal(truth.astype(str), np.arange(120), 5, 0)
    probe, _ = learn(rows, truth, np.zeros(120), folds)
    read = Probe.parse(probe.as_probe("guns", Identity("e", "1", "p")).serialized())
    unsafe = read.probabilities(rows.embeddings.astype(np.float32))[:, read.labels.index("guns")]
    odds = np.maximum.reduceat(np.log(unsafe) - np.log1p(-unsafe), rows.starts[:-1])
    assert odds == pytest.approx(probe.log_odds(rows), abs=1e-3)


def test_only_some_images_are_learnt_from(rows: ViewRows, truth: NDArray[np.bool_]) -> None:
    some = np.arange(120) < 60
    direction, offset = fit(rows, truth, 30.0, some)
    alone, alone_offset = fit(rows.subset(some), truth[some], 30.0)
    assert direction == pytest.approx(alone)
    assert offset == pytest.approx(alone_offset)


def test_too_few_examples_are_not_learnt_from() -> None:
    truth = np.arange(40) < 7
    assert not enough(truth, np.arange(40) % 5)
    assert enough(np.arange(40) < 8, np.arange(40) % 5)


def test_a_fit_from_another_one_is_the_same(rows: ViewRows, truth: NDArray[np.bool_]) -> None:
    first = fit(rows, truth, 100.0)
    direction, offset = fit(rows, truth, 30.0)
    again, offset_again = fit(rows, truth, 30.0, start=first)
    assert again == pytest.approx(direction, abs=1e-5)
    assert offset_again == pytest.approx(offset, abs=1e-5)
    assert np.abs(direction - first[0]).max() > 1e-2, "the strengths differ"


def test_variants_are_examples_of_what_their_image_shows(rows: ViewRows, truth: NDArray[np.bool_]) -> None:
    some = np.arange(120) < 60
    variants = np.stack([rows.embeddings[0::2], rows.embeddings[0::2][:, ::-1]], axis=1)
    direction, offset = fit(replace(rows, variants=variants), truth, 30.0, some)
    by_hand = ViewRows(
        np.concatenate([rows.subset(some).embeddings, variants[some].reshape(-1, 12)]),
        np.concatenate([np.arange(0, 120, 2), np.arange(120, 241)]),
    )
    expected, expected_offset = fit(by_hand, np.concatenate([truth[some], np.repeat(truth[some], 2)]), 30.0)
    assert direction == pytest.approx(expected, abs=1e-9)
    assert offset == pytest.approx(expected_offset, abs=1e-9)
