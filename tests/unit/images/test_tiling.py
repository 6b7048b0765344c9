from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from moderator.images.tiling import SQUARES_MAX, squares, tiles
from moderator.view import LONG_RATIO


@given(side=st.integers(24, 500), ratio=st.floats(LONG_RATIO, 30), upright=st.booleans())
def test_squares_cover_a_long_part_from_end_to_end(side: int, ratio: float, upright: bool) -> None:
    length = round(side * ratio)
    left, top = 7, 11
    width, height = (side, length) if upright else (length, side)
    found = squares((left, top, left + width, top + height))
    assert len(found) == len(set(found)) <= SQUARES_MAX
    assert all(right - x == bottom - y == side for x, y, right, bottom in found)
    starts = [y - top if upright else x - left for x, y, _, _ in found]
    assert starts[:2] == [0, length - side], "the ends come first"
    assert all(b - a <= side for a, b in pairwise(sorted(starts))), "without gaps"


@given(width=st.integers(100, 9000), height=st.integers(100, 9000))
def test_tiles_cover_a_picture(width: int, height: int) -> None:
    found = tiles(width, height)
    assert len(found) == 5
    for edge, end in enumerate((0, 0, width, height)):
        assert sum(box[edge] == end for box in found) == 2
    assert all(2 * (box[2] - box[0]) >= width and 2 * (box[3] - box[1]) >= height for box in found)
