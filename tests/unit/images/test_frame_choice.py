import numpy as np
from PIL import Image

from moderator.images.frame_choice import choose_frames, thumbnail


def thumbnails(*levels: int) -> np.ndarray:
    return np.stack([thumbnail(Image.new("RGB", (40, 30), (level,) * 3)) for level in levels])


def test_first_last_longest_and_required_come_first() -> None:
    levels = thumbnails(0, 50, 100, 150, 200, 250)
    chosen, _ = choose_frames(levels, [1, 1, 9, 1, 1, 1], [4], 4)
    assert chosen == [0, 2, 4, 5]
    assert choose_frames(levels, [1] * 6, [], 1)[0] == [0]


def test_the_least_alike_and_the_longest_shown_follow() -> None:
    levels = thumbnails(*[100] * 20, 250, *[100] * 20, 130, 135, 100)
    seconds = [0.1] * 41 + [5.0, 0.1, 0.1]
    chosen, unlike = choose_frames(levels, seconds, [], 4)
    assert chosen == [0, 20, 41, 43]
    assert unlike == 0


def test_frames_that_show_the_same_are_judged_once() -> None:
    assert choose_frames(thumbnails(*[100, 101] * 50), [1] * 100, [], 16)[0] == [0, 99]


def test_frames_unlike_all_chosen_ones_are_counted() -> None:
    levels = thumbnails(0, 80, 160, 240, 0)
    assert choose_frames(levels, [1] * 5, [], 2) == ([0, 4], 3)
    assert choose_frames(levels, [1] * 5, [], 5) == ([0, 1, 2, 3, 4], 0)


def test_transparency_makes_a_difference() -> None:
    clear = Image.new("RGBA", (40, 30), (255, 255, 255, 0))
    white = Image.new("RGBA", (40, 30), (255, 255, 255, 255))
    levels = np.stack([thumbnail(clear), thumbnail(clear), thumbnail(white), thumbnail(clear)])
    assert choose_frames(levels, [1] * 4, [], 16)[0] == [0, 2, 3]
