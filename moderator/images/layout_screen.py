"""Screen pictures quickly: has one borders, gaps or straight edges, so that a search for its parts is worthwhile?

Few whole lines are looked at, evenly spread: along them, pixels are neighbours as in the picture itself, and there the
steps of a straight edge stand out from whatever a photograph shows.
"""

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


def may_be_composed(picture: Image.Image) -> bool:
    """Return whether a picture, mode RGB, has anything that a search for its parts looks for."""
    width, height = picture.size
    if min(width, height) < SIDE_MIN_PIXELS:
        return True
    upright, level = _lines(picture, True), _lines(picture, False)
    if _has_empty_line(upright) or _has_empty_line(level):
        return True
    edges = []
    for lines in (upright, level):
        steps = _steps(lines)
        if np.count_nonzero(steps, axis=1).max() >= EDGE_SHARE * LINES:
            return True
        edges.append(_short_edges(steps))
    return _form_rectangle(*edges)


def line_steps(picture: Image.Image, upright: bool) -> NDArray[np.bool_]:
    """Return where neighbours along whole lines differ more than those beside them: bool [lines, samples - 1].

    Lines are level for upright edges.
    """
    steps = np.pad(_steps(_lines(picture, upright)), ((2, 2), (0, 0)))
    return np.ascontiguousarray(steps.T)


def _lines(picture: Image.Image, upright: bool) -> NDArray[np.uint8]:
    """Return the lines that cross upright or level edges: uint8 [samples, lines, 3]."""
    if not upright:
        return np.asarray(picture.resize((LINES, min(picture.height, SAMPLES_MAX)), Image.Resampling.NEAREST))
    rows = picture.resize((min(picture.width, SAMPLES_MAX), LINES), Image.Resampling.NEAREST)
    return np.asarray(rows.transpose(Image.Transpose.TRANSPOSE))


def _has_empty_line(lines: NDArray[np.uint8]) -> bool:
    """Return whether a line has one colour, or an outermost one is noise: uint8 [samples, lines, 3]."""
    few = lines[::8]
    if ((few.max(axis=0) - few.min(axis=0)).max(axis=1) <= 2 * NEAR_LEVELS).any():
        return True
    outermost = lines[::4, [0, -1]]
    ordered = np.sort(outermost, axis=0)
    spare = int((1 - NEAR_SHARE) * len(ordered))
    if ((ordered[-1 - spare] - ordered[spare]).max(axis=1) <= 2 * NEAR_LEVELS).any():
        return True
    beside = _difference(outermost[1:], outermost[:-1]).mean(axis=(0, 2))
    if beside.max() < NOISE_LEVELS:
        return False
    apart = _difference(outermost, np.roll(outermost, len(outermost) // 3, axis=0)).mean(axis=(0, 2))
    return bool(((beside >= NOISE_LEVELS) & (beside > NOISE_RATIO * apart)).any())


def _steps(lines: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where neighbours differ more than those beside them: bool [samples - 5, lines]."""
    by_channel = _difference(lines[1:], lines[:-1])
    differences = np.maximum(np.maximum(by_channel[..., 0], by_channel[..., 1]), by_channel[..., 2])
    quiet = np.minimum(differences[:-4], differences[4:])
    # Halves, so that nothing exceeds a byte.
    return differences[2:-2] // 2 > quiet + np.uint8(STEP_LEVELS // 2)


def _difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.uint8]:
    difference: NDArray[np.uint8] = np.maximum(a, b) - np.minimum(a, b)
    return difference


def _short_edges(steps: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return what may be edges along a part of a side: float [edges, 3], position, start and end as shares."""
    sums = np.cumsum(steps, axis=1, dtype=np.int8)
    dense = sums[:, EDGE_LINES_MIN:] - sums[:, :-EDGE_LINES_MIN] >= EDGE_LINES_MIN - 1
    lengths = np.count_nonzero(dense, axis=1)
    at = np.flatnonzero(lengths)
    if len(at) > SHORT_EDGES_MAX:
        at = at[np.argsort(-lengths[at], kind="stable")[:SHORT_EDGES_MAX]]
    runs = dense[at]
    starts = np.argmax(runs, axis=1)
    ends = runs.shape[1] - np.argmax(runs[:, ::-1], axis=1)
    return np.stack([(at + 3) / len(steps), (starts + 1) / LINES, (ends + EDGE_LINES_MIN) / LINES], axis=1)


def _form_rectangle(upright: NDArray[np.float64], level: NDArray[np.float64]) -> bool:
    """Return whether an upright and a level edge may be sides of a rectangle.

    Both ends of a side are at the end of the picture or at a corner, and one at least is at a corner.
    """
    if not len(upright) or not len(level):
        return False
    slack = CORNER_LINES / LINES
    x, y = upright[:, :1], level[:, 0]
    # [upright, level, ends]: whether the end of one is where the other one is.
    down = np.less_equal(np.abs(upright[:, None, 1:] - y[None, :, None]), slack)
    across = np.less_equal(np.abs(level[None, :, 1:] - x[:, :, None]), slack)
    corners = np.logical_and(down.any(axis=2), across.any(axis=2))
    outer = np.array([slack, 1 - slack])
    at_corners = np.expand_dims(corners, 2)
    ends_down = (down & at_corners).any(axis=1) | _beyond(upright[:, 1:], outer)
    ends_across = (across & at_corners).any(axis=0) | _beyond(level[:, 1:], outer)
    return bool((corners & np.logical_and.outer(ends_down.all(axis=1), ends_across.all(axis=1))).any())


def _beyond(ends: NDArray[np.float64], outer: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which ends of edges, [edges, 2], are at an end of the picture."""
    return np.stack([ends[:, 0] <= outer[0], ends[:, 1] >= outer[1]], axis=1)
