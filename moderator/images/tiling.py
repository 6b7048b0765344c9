"""Cover a picture, or a part of one, with boxes that overlap."""

import math

from moderator.images.seams import Box

#: Each of the squares along a long part begins at most this share of its side after the one before.
SQUARE_STRIDE_SHARE = 0.7
#: Most squares along one part.
SQUARES_MAX = 64
#: Share of the sides of a picture that a tile has.
TILE_SHARE = 0.55


def squares(box: Box) -> list[Box]:
    """Return overlapping squares along a part that is longer than wide, widely spread ones first."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    side, length = min(width, height), max(width, height)
    count = min(SQUARES_MAX, 1 + math.ceil((length / side - 1) / SQUARE_STRIDE_SHARE))
    found = []
    for number in _spread(count):
        at = round(number * (length - side) / (count - 1))
        x, y = (left + at, top) if width > height else (left, top + at)
        found.append((x, y, x + side, y + side))
    return found


def tiles(width: int, height: int) -> list[Box]:
    """Return four tiles in the corners of a picture and one in its centre."""
    w, h = round(TILE_SHARE * width), round(TILE_SHARE * height)
    corners = [(x, y) for y in (0, height - h) for x in (0, width - w)]
    return [(x, y, x + w, y + h) for x, y in (*corners, ((width - w) // 2, (height - h) // 2))]


def _spread(count: int) -> list[int]:
    """Return the numbers below a count in an order whose first ones are spread: the ends, the middle, the quarters."""
    bits = count.bit_length()
    inner = sorted(range(1, count - 1), key=lambda number: f"{number:0{bits}b}"[::-1])
    return [0, count - 1, *inner]
