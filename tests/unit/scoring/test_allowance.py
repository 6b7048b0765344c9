import math

import numpy as np
import pytest

from moderator.scoring.allowance import (
    LOGITS_OF_BORDERED,
    LOGITS_OF_LONG,
    LOGITS_PER_DOUBLING,
    PARTS_MAX,
    allowances,
    with_allowance,
)
from moderator.scoring.rules import Scores
from moderator.view import View


def view(name: str, frame: int = 0, turn: int = 0, width: int = 10) -> View:
    return View(name, frame, (0, 0, width, 10), turn)


def scores(unsafe: list[float], safe: list[float]) -> Scores:
    nothing = np.zeros((len(unsafe), 0), np.float32)
    columns = (np.array([[value] for value in values], np.float32) for values in (unsafe, safe))
    return Scores(*columns, nothing, nothing)


def with_none_asked(given: Scores, views: list[View]) -> Scores:
    return with_allowance(given, views, np.zeros(given.unsafe.shape[1], np.float32))


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_whole_frames_and_a_single_other_view_are_judged_as_they_are() -> None:
    given = scores([0.7, 0.6, 0.8], [0.3, 0.4, 0.2])
    assert with_none_asked(given, [view("whole", n) for n in range(3)]) is given
    assert with_none_asked(given, [view("whole"), view("panel"), view("whole", 1)]) is given


@pytest.mark.parametrize(
    ("other", "logits"),
    [
        (view("trimmed"), LOGITS_OF_BORDERED),
        (view("trimmed", width=18), LOGITS_OF_BORDERED),
        (view("trimmed", width=19), LOGITS_OF_LONG),
        (view("square"), LOGITS_OF_LONG),
    ],
)
def test_a_whole_picture_that_other_views_show_better_needs_more(other: View, logits: float) -> None:
    views = [view("whole"), other, view("whole", 1), view("panel", 1)]
    assert allowances(views) == pytest.approx([logits, 0, 0, 0])


def test_a_view_that_shows_all_counts_beside_squares() -> None:
    views = [view("whole"), view("trimmed"), view("square")]
    assert allowances(views)[0] == np.float32(LOGITS_OF_BORDERED)


def test_more_views_of_a_frame_need_more() -> None:
    views = [view("whole"), *(view("panel") for _ in range(4)), view("whole", 1), view("whole", 1, 90)]
    assert allowances(views) == pytest.approx([0, *[2 * LOGITS_PER_DOUBLING] * 4, 0, 0])
    found = with_none_asked(scores([0.9] * 7, [0.1] * 7), views)
    expected = logit(0.9) - 2 * LOGITS_PER_DOUBLING
    assert [logit(p) for p in found.unsafe[1:5, 0]] == pytest.approx([expected] * 4, abs=1e-5)
    assert found.unsafe[[0, 5, 6], 0].tolist() == [np.float32(0.9)] * 3, "bit by bit"
    np.testing.assert_allclose(found.unsafe + found.safe, 1, atol=1e-6)


def test_the_ends_of_the_scale_stay() -> None:
    found = with_none_asked(scores([0.0, 1.0], [1.0, 0.0]), [view("panel"), view("panel")])
    assert found.unsafe[:, 0].tolist() == [0, 1]
    assert found.safe[:, 0].tolist() == [1, 0]


def test_a_category_may_ask_for_more_of_views_that_are_not_the_whole() -> None:
    nothing = np.zeros((3, 0), np.float32)
    halves = np.full((3, 2), 0.5, np.float32)
    views = [view("whole"), view("panel"), view("panel")]
    found = with_allowance(Scores(halves, halves, nothing, nothing), views, np.array([0, 0.25], np.float32))
    lowered = [LOGITS_PER_DOUBLING, LOGITS_PER_DOUBLING + 0.25]
    assert [-logit(p) for p in found.unsafe[1]] == pytest.approx(lowered, abs=1e-5)
    assert found.unsafe[0].tolist() == [0.5, 0.5]


def test_a_picture_without_its_border_is_no_part_of_it() -> None:
    given = scores([0.5, 0.5], [0.5, 0.5])
    found = with_allowance(given, [view("whole"), view("trimmed")], np.array([1.0], np.float32))
    assert found.unsafe[1, 0] == 0.5


def test_the_pictures_of_a_collage_are_no_parts_of_one() -> None:
    asked = np.array([1.0], np.float32)
    for others, lowered in ((PARTS_MAX, 1.0), (PARTS_MAX + 1, 0.0)):
        views = [view("whole"), *[view("panel")] * others]
        halves = [0.5] * len(views)
        found = with_allowance(scores(halves, halves), views, asked)
        expected = LOGITS_PER_DOUBLING * np.log2(others) + lowered
        assert -logit(found.unsafe[1, 0]) == pytest.approx(expected, abs=1e-5)


def test_a_single_other_view_is_lowered_where_a_category_asks_for_it() -> None:
    asked = np.array([1.0], np.float32)
    found = with_allowance(scores([0.5, 0.5], [0.5, 0.5]), [view("whole"), view("panel")], asked)
    assert found.unsafe[0, 0] == 0.5
    assert logit(found.unsafe[1, 0]) == pytest.approx(-1, abs=1e-5)
    assert found.safe[1, 0] == pytest.approx(1 - found.unsafe[1, 0])
