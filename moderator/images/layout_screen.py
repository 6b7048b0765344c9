"""Screen pictures quickly: has one borders, gaps or straight edges, so that a search for its parts is worthwhile?

Few whole lines are looked at, evenly spread: along them, pixels are neighbours as in the picture itself, and there the
steps of a straight edge stand out from whatever a photograph shows.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderator.images.blank import NEAR_LEVELS, NEAR_SHARE, NOISE_LEVELS
from moderator.images.seams import STEP_LEVELS

#: Lines in each direction, and most samples along one.
LINES = 32
SAMPLES_MAX = 512
#: Pictures with a shorter side are searched at once.
SIDE_MIN_PIXELS = 64
#: Least share of the lines that have a step at the place of an edge from end to end.
EDGE_SHARE = 0.5
#: A shorter edge crosses this many lines side by side, one of which may be without a step; most of them.
EDGE_LINES_MIN = 5
SHORT_EDGES_MAX = 8
#: In noise, pixels side by side differ as much as pixels far apart do: nearly by this ratio.
NOISE_RATIO = 0.85
#: How far the ends of two edges may be from their corner, in lines.
CORNER_LINES = 2.5
#: The three levels of a pixel in Pillow's memory.
_COLOUR = np.frombuffer(b"\xff\xff\xff\0", dtype=np.uint32)[0]


class LayoutScreen:
    """What the lines of a picture show.

    Args:
        picture: mode RGB.
    """

    def __init__(self, picture: Image.Image) -> None:
        self._picture = picture

    @property
    def may_be_composed(self) -> bool:
        """Whether the picture has anything that a search for its parts looks for."""
        return not self._lines or any(map(_has_empty_line, self._lines)) or self.has_edges

    @cached_property
    def has_edges(self) -> bool:
        """Whether there may be edges between pictures: from end to end, or around a rectangle."""
        return not self._lines or _has_edges(*map(_steps, self._lines))

    @cached_property
    def _lines(self) -> list[NDArray[np.uint8]]:
        """The levels along the lines, [samples, lines, 4] each; none of a picture that is too small."""
        if min(self._picture.size) < SIDE_MIN_PIXELS:
            return []
        each = [_crossing(self._picture, True), _crossing(self._picture, False)]
        if len(each[0]) == len(each[1]):
            # Both at once: calls take longer than what they compute.
            each = [np.concatenate(each, axis=1)]
        return [_levels(lines) for lines in each]


def _crossing(picture: Image.Image, upright: bool) -> NDArray[np.uint32]:
    """Return the pixels of the lines that cross upright or level edges, [samples, lines]."""
    if upright:
        return _sampled(picture, min(picture.width, SAMPLES_MAX), LINES).T
    return _sampled(picture, LINES, min(picture.height, SAMPLES_MAX))


def _sampled(picture: Image.Image, columns: int, rows: int) -> NDArray[np.uint32]:
    """Return evenly spread pixels, as Pillow has them in its memory: three levels and a byte without meaning."""
    sample = picture.resize((columns, rows), Image.Resampling.NEAREST)
    return np.frombuffer(sample.tobytes("raw", "RGBX"), dtype=np.uint32).reshape(rows, columns)


def _levels(pixels: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the levels of pixels, [samples, lines]: uint8 [samples, lines, 4], of which the last one is 0."""
    levels: NDArray[np.uint8] = (np.ascontiguousarray(pixels) & _COLOUR).view(np.uint8)
    return levels.reshape(*pixels.shape, 4)


def line_steps(picture: Image.Image, upright: bool) -> NDArray[np.bool_]:
    """Return where neighbours along whole lines differ more than those beside them: bool [lines, samples - 1].

    Lines are level for upright edges.
    """
    steps = np.pad(_steps(_levels(_crossing(picture, upright))), ((2, 2), (0, 0)))
    return np.ascontiguousarray(steps.T)


def _has_empty_line(lines: NDArray[np.uint8]) -> bool:
    """Return whether a line has one colour, or an outermost one is noise: uint8 [samples, lines, 4].

    The lines are the `LINES` of one direction, or those and the `LINES` of the other one.
    """
    few = lines[::8]
    if ((few.max(axis=0) - few.min(axis=0)).max(axis=1) <= 2 * NEAR_LEVELS).any():
        return True
    ends = [end for first in range(0, lines.shape[1], LINES) for end in (first, first + LINES - 1)]
    outermost = np.ascontiguousarray(lines[::4, ends].transpose(1, 2, 0))
    ordered = np.sort(outermost)
    spare = int((1 - NEAR_SHARE) * ordered.shape[2])
    if ((ordered[..., -1 - spare] - ordered[..., spare]).max(axis=1) <= 2 * NEAR_LEVELS).any():
        return True
    beside = _mean_level(_difference(outermost[..., 1:], outermost[..., :-1]))
    if beside.max() < NOISE_LEVELS:
        return False
    apart = _mean_level(_difference(outermost, np.roll(outermost, outermost.shape[2] // 3, axis=2)))
    return bool(((beside >= NOISE_LEVELS) & (beside > NOISE_RATIO * apart)).any())


def _mean_level(lines: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean of the three levels of each line's samples, [lines, 4, samples]."""
    mean: NDArray[np.float64] = lines.sum(axis=(1, 2)) / (3 * lines.shape[2])
    return mean


def _steps(lines: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where neighbours differ more than those beside them: bool [samples - 5, lines]."""
    by_level = _difference(lines[1:], lines[:-1])
    differences = np.maximum(np.maximum(by_level[..., 0], by_level[..., 1]), by_level[..., 2])
    quiet = np.minimum(differences[:-4], differences[4:])
    # Halves, so that nothing exceeds a byte.
    return differences[2:-2] // 2 > quiet + np.uint8(STEP_LEVELS // 2)


def _difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint8]:
    difference: NDArray[np.uint8] = np.maximum(a, b) - np.minimum(a, b)
    return difference


class _ShortEdge(NamedTuple):
    """What may be an edge along a part of a side: position, start and end, as shares of the sides."""

    position: float
    start: float
    end: float


def _has_edges(*steps: NDArray[np.bool_]) -> bool:
    """Return whether there is an edge from end to end, or short ones that may be sides of a rectangle.

    Args:
        steps: of upright and of level lines: bool [samples - 5, lines], or both in one array.
    """
    counts = [np.bitwise_count(np.packbits(one, axis=1).view(f"u{LINES // 8}")) for one in steps]
    if max(int(one.max()) for one in counts) >= EDGE_SHARE * LINES:
        return True
    # Fewer steps make no edge.
    places = [
        (one[:, at : at + LINES], np.flatnonzero(count[:, at // LINES] >= EDGE_LINES_MIN - 1))
        for one, count in zip(steps, counts, strict=True)
        for at in range(0, one.shape[1], LINES)
    ]
    if not all(len(at) for _, at in places):
        return False
    upright, level = (_short_edges(one[at], at, len(one)) for one, at in places)
    return _form_rectangle(upright, level)


def _short_edges(steps: NDArray[np.bool_], at: NDArray[np.intp], samples: int) -> list[_ShortEdge]:
    """Return what may be short edges, the longest ones of many.

    Args:
        steps: bool [places, lines].
        at: where each place is.
        samples: number of places along a line.
    """
    sums = np.cumsum(steps, axis=1, dtype=np.int8)
    dense = sums[:, EDGE_LINES_MIN:] - sums[:, :-EDGE_LINES_MIN] >= EDGE_LINES_MIN - 1
    lengths = dense.sum(axis=1)
    found = np.flatnonzero(lengths)
    if len(found) > SHORT_EDGES_MAX:
        found = found[np.argsort(-lengths[found], kind="stable")[:SHORT_EDGES_MAX]]
    runs = dense[found]
    starts = np.argmax(runs, axis=1) + 1
    ends = runs.shape[1] - np.argmax(runs[:, ::-1], axis=1) + EDGE_LINES_MIN
    shares = ((at[found] + 3) / samples, starts / LINES, ends / LINES)
    return [_ShortEdge(*edge) for edge in zip(*(share.tolist() for share in shares), strict=True)]


def _form_rectangle(upright: list[_ShortEdge], level: list[_ShortEdge]) -> bool:
    """Return whether an upright and a level edge may be sides of a rectangle.

    Both ends of a side are at the end of the picture or at a corner, and one at least is at a corner.
    """
    corners = [
        (one, other) for one in upright for other in level if _meets(one, other) and _meets(other, one)
    ]
    return any(
        _is_side(one, [b.position for a, b in corners if a is one])
        and _is_side(other, [a.position for a, b in corners if b is other])
        for one, other in corners
    )


def _meets(edge: _ShortEdge, other: _ShortEdge) -> bool:
    """Return whether an edge ends where the other one is."""
    slack = CORNER_LINES / LINES
    return abs(edge.start - other.position) <= slack or abs(edge.end - other.position) <= slack


def _is_side(edge: _ShortEdge, corners: list[float]) -> bool:
    """Return whether each end of an edge is at one of the corners, or at the end of the picture."""
    slack = CORNER_LINES / LINES
    return all(
        is_outer or any(abs(end - corner) <= slack for corner in corners)
        for end, is_outer in ((edge.start, edge.start <= slack), (edge.end, edge.end >= 1 - slack))
    )
