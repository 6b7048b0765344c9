import numpy as np
import pytest

from moderator.tuning.rank_objective import recall_at, separation


def test_recall_at_a_share_of_false_alarms() -> None:
    truth = np.array([True] * 4 + [False] * 100)
    scores = np.concatenate([[200.0, 98.5, 95.5, 1.0], np.arange(1.0, 101.0)])
    assert recall_at(truth, scores, 0.01) == 0.25
    assert recall_at(truth, scores, 0.02) == 0.5
    assert recall_at(truth, scores, 0.05) == 0.75


def test_separation_does_not_depend_on_the_scale_of_scores() -> None:
    random = np.random.default_rng(0)
    truth = np.arange(80) < 20
    scores = random.normal(size=(80, 1)) + 2 * truth[:, None]
    both = separation(np.concatenate([scores, 7 * scores - 3], axis=1), truth)
    assert both[:, 0] == pytest.approx(both[:, 1])
    raised = scores + 0.5 * truth[:, None]
    assert (separation(raised, truth) > both[:, :1]).all()
