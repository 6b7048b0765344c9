import numpy as np
import pytest

from moderator.images.blank import Content, around, find_content, gaps, is_blank, is_noise
from moderator.images.seams import Levels


def rough(rows: int, columns: int, seed: int = 0) -> Levels:
    """Something like a photograph: neighbours are alike."""
    random = np.random.default_rng(seed)
    steps = random.normal(0, 12, (3, rows, columns)).cumsum(axis=1).cumsum(axis=2) / 8
    return (steps % 256).astype(np.int16)


def canvas(rows: int, columns: int, level: int = 255) -> Levels:
    return np.full((3, rows, columns), level, np.int16)


def test_the_content_is_what_the_borders_leave() -> None:
    levels = canvas(100, 80)
    levels[:, 20:70, 10:60] = rough(50, 50)
    assert find_content(levels) == Content(10, 20, 60, 70, True)


def test_each_side_may_have_its_own_colour() -> None:
    levels = rough(60, 60)
    levels[:, :10] = 255
    levels[:, :, 50:] = 0
    found = find_content(levels)
    assert found is not None
    assert (found.left, found.top, found.right, found.bottom) == (0, 10, 50, 60)


def test_a_photograph_that_fills_its_frame_has_no_border() -> None:
    assert find_content(rough(60, 50)) == Content(0, 0, 50, 60, True)


def test_a_border_may_be_a_little_uneven() -> None:
    levels = canvas(100, 100, 128) + np.random.default_rng(0).integers(-6, 7, (3, 100, 100)).astype(np.int16)
    levels[:, 30:60, 40:90] = rough(30, 50)
    found = find_content(levels)
    assert found is not None
    assert (found.left, found.top, found.right, found.bottom) == (40, 30, 90, 60)


def test_a_thing_on_a_background_is_no_rectangle() -> None:
    y, x = np.mgrid[:100, :100]
    levels = canvas(100, 100)
    levels[:, abs(x - 50) + abs(y - 50) < 30] = 20
    found = find_content(levels)
    assert found is not None
    assert not found.rectangle


@pytest.mark.parametrize("level", [0, 128, 255])
def test_one_colour_has_no_content(level: int) -> None:
    assert find_content(canvas(40, 40, level)) is None
    assert is_blank(canvas(40, 40, level))


def test_noise_is_no_picture() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 60, 60)).astype(np.int16)
    assert is_noise(noise)
    assert not is_noise(rough(60, 60))


def test_a_border_may_be_noise() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (3, 100, 80)).astype(np.int16)
    levels[:, 20:70, 10:60] = rough(50, 50)
    assert find_content(levels) == Content(10, 20, 60, 70, True)
    assert find_content(levels, noisy=lambda: False) == Content(0, 0, 80, 100, True)


def test_gaps_separate_contents_of_some_size() -> None:
    levels = rough(100, 60)
    levels[:, 48:52] = 200
    levels[:, 93:95] = 200
    assert gaps(levels, 20) == [50]
    assert gaps(levels, 60) == []
    assert gaps(rough(100, 60), 20) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ((40, 10, 60, 90), (4, 4, 96, 96)),  # grows to a square with a margin
        ((0, 10, 20, 90), (0, 4, 92, 96)),  # as far as there is background
        ((0, 0, 100, 100), (0, 0, 100, 100)),
    ],
)
def test_a_thing_keeps_a_margin(content: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert around(content, (0, 0, 100, 100)) == expected
