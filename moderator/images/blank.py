"""Find what surrounds and separates the contents of a picture: borders and gaps of one colour, or of noise."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.images.seams import Box, Levels

#: How far a pixel of a border may be from its colour, in levels of 255, and the share of a line that must be so near.
NEAR_LEVELS = 10
NEAR_SHARE = 0.97
#: In noise, pixels side by side differ as much as pixels far apart do: at least by this ratio.
NOISE_RATIO = 0.9
#: Least mean difference of pixels side by side in a border of noise; a line that is quieter by this share ends it.
NOISE_LEVELS = 20
QUIETER_SHARE = 0.85
#: A small picture in noise hardly makes whole lines quieter: it ends the border where squares of so many pixels, and
#: lines across them, are quieter by this share, or brighter or darker by so many levels. Of noise itself, no square is:
#: 5 standard deviations.
SQUARE_PIXELS = 8
QUIET_SQUARE_SHARE = 0.6
OTHER_LEVELS = 45
#: A line differs if it and those after it do, so many in all.
FOLLOWING_LINES = 4
#: Shorter lines are too few pixels to judge by.
NOISE_PIXELS_MIN = 16
#: Share of a content's edge that differs from the border where the content is a rectangle, as a pasted picture is.
RECTANGLE_SHARE = 0.5
#: A thing on a background keeps a margin of it, as a share of its longer side.
MARGIN_SHARE = 0.08


@dataclass(frozen=True)
class Content:
    """What remains of a sample without its borders: its bounds in samples, and whether it is a rectangle."""

    left: int
    top: int
    right: int
    bottom: int
    rectangle: bool


def is_blank(levels: Levels) -> bool:
    """Return whether a sample, int16 [3, rows, columns], has one colour."""
    colour = _middle(levels[:, ::4, ::4].reshape(3, -1))
    near = (np.abs(levels - colour[:, None, None]) <= NEAR_LEVELS).all(axis=0)
    return bool(near.mean() >= NEAR_SHARE)


def is_noise(levels: Levels) -> bool:
    """Return whether pixels side by side differ much, and as much as pixels far apart do."""
    if levels.shape[2] < NOISE_PIXELS_MIN:
        return False
    differences = np.abs(levels[:, :, 1:] - levels[:, :, :-1])
    beside = int(differences.sum()) / differences.size
    if beside < NOISE_LEVELS:
        return False
    apart = np.abs(levels - np.roll(levels, levels.shape[2] // 3, axis=2)).mean()
    return bool(beside > NOISE_RATIO * apart)


def find_content(levels: Levels, noisy: Callable[[], bool] = lambda: True) -> Content | None:
    """Return the content of a sample within its borders; None if there is nothing else.

    A border begins with a line of one colour or of noise at a side, and ends before the first line that is different.

    Args:
        levels: int16 [3, rows, columns].
        noisy: whether a border that looks like noise may be taken for it; asked only if there is one.
    """
    rows, columns = levels.shape[1:]
    bounds = [0, 0, columns, rows]
    colours: dict[int, Levels] = {}
    in_noise = False
    # A border may have another colour on each side; taking one away may reveal the next.
    for _ in range(4):
        before = list(bounds)
        for side in range(4):
            lines = _lines(levels, bounds, side)
            depth, colour = _border(lines, noisy)
            if depth == lines.shape[1]:
                return None
            if not depth:
                continue
            bounds[side] += depth if side < 2 else -depth
            if colour is None:
                in_noise = True
            else:
                colours[side] = colour
        if bounds == before:
            break
    fills = [
        _differing(_lines(levels, bounds, side)[:, :3], colour).max() for side, colour in colours.items()
    ]
    left, top, right, bottom = bounds
    rectangle = in_noise or bool(min(fills, default=1.0) >= RECTANGLE_SHARE)
    return Content(left, top, right, bottom, rectangle)


def _lines(levels: Levels, bounds: list[int], side: int) -> Levels:
    """Return the lines along a side (left, top, right, bottom), the outermost first: int16 [3, lines, pixels]."""
    left, top, right, bottom = bounds
    part = levels[:, top:bottom, left:right]
    lines = part if side % 2 else part.transpose(0, 2, 1)
    return lines[:, ::-1] if side >= 2 else lines


def _border(lines: Levels, noisy: Callable[[], bool]) -> tuple[int, Levels | None]:
    """Return how many of the first lines are a border, and its colour, [3, 1, 1]; None for noise."""
    outermost = lines[:, 0]
    middle = _middle(outermost)[:, None]
    colour = middle[:, :, None]
    far = np.abs(outermost - middle).max(axis=0) > NEAR_LEVELS
    if np.count_nonzero(far) / len(far) <= 1 - NEAR_SHARE:
        return _first(_differing(lines, colour) > 1 - NEAR_SHARE), colour
    if not (is_noise(lines[:, :4]) and noisy()):
        return 0, colour
    return _depth_of_noise(lines), None


def _depth_of_noise(lines: Levels) -> int:
    """Return how many of the first lines are noise, as the first four are."""
    roughness, brightness = np.abs(np.diff(lines, axis=2)).mean(axis=0), lines[:, :, 1:].mean(axis=0)
    rough, bright = float(roughness[:4].mean()), float(brightness[:4].mean())
    ends = _stay_below(roughness.mean(axis=1), QUIETER_SHARE * rough)
    squares = (_squares(roughness) < QUIET_SQUARE_SHARE * rough) | (
        np.abs(_squares(brightness) - bright) > OTHER_LEVELS
    )
    starts = np.flatnonzero(squares.any(axis=0))
    if len(starts):
        across = np.zeros(roughness.shape[1], dtype=np.bool_)
        across[(starts[:, None] + np.arange(SQUARE_PIXELS)).ravel()] = True
        apart = np.abs(brightness[:, across].mean(axis=1) - bright)
        ends |= _stay_below(roughness[:, across].mean(axis=1), QUIET_SQUARE_SHARE * rough)
        ends |= _stay_below(-apart, -OTHER_LEVELS)
    return _first(ends)


def _stay_below(values: NDArray[np.float64], most: float) -> NDArray[np.bool_]:
    """Return where a value and the mean of it and those after it are below a bound: one may be so by chance."""
    following = np.convolve(values, np.full(FOLLOWING_LINES, 1 / FOLLOWING_LINES))[FOLLOWING_LINES - 1 :]
    below: NDArray[np.bool_] = (values < most) & (following < most)
    return below


def _squares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of the squares that begin at each pixel, as far as they fit: [lines, pixels], fewer of each."""
    side = SQUARE_PIXELS
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    total = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    means: NDArray[np.float64] = total / side**2
    return means


def _middle(values: Levels) -> Levels:
    """Return the median of each row. NumPy's own imports a module, which a confined process cannot."""
    middle: Levels = np.sort(values, axis=1)[:, values.shape[1] // 2]
    return middle


def _first(flags: NDArray[np.bool_]) -> int:
    """Return the index of the first flag that is set; the length if none is."""
    return int(np.argmax(flags)) if flags.any() else len(flags)


def _differing(lines: Levels, colour: Levels) -> NDArray[np.float64]:
    """Return the share of each line that is not near a colour."""
    share: NDArray[np.float64] = (np.abs(lines - colour).max(axis=0) > NEAR_LEVELS).mean(axis=1)
    return share


def gaps(levels: Levels, shortest: int) -> list[int]:
    """Return the middles of rows of one colour that separate contents, in samples; the widest gaps come first.

    Args:
        levels: int16 [3, rows, columns], without borders.
        shortest: fewest rows of a content; nearer gaps do not count.
    """
    rows = levels.shape[1]
    few = levels[:, :, ::8]
    if not ((few.max(axis=2) - few.min(axis=2)).max(axis=0) <= 2 * NEAR_LEVELS).any():
        return []
    flat = (levels.max(axis=2) - levels.min(axis=2)).max(axis=0) <= 2 * NEAR_LEVELS
    ends = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(np.int8)))
    runs = sorted(zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True), key=lambda run: run[0] - run[1])
    cuts: list[int] = []
    for start, end in runs:
        middle = (start + end) // 2
        if all(abs(middle - other) >= shortest for other in (0, rows, *cuts)):
            cuts.append(middle)
    return cuts


def around(content: Box, within: Box) -> Box:
    """Return the box of a thing on a background, with a margin and nearly square, as far as there is background."""
    left, top, right, bottom = content
    longer = max(right - left, bottom - top)
    side = longer + 2 * int(MARGIN_SHARE * longer)
    left, right = _widened(left, right, side, within[0], within[2])
    top, bottom = _widened(top, bottom, side, within[1], within[3])
    return left, top, right, bottom


def _widened(start: int, end: int, length: int, least: int, most: int) -> tuple[int, int]:
    length = min(max(length, end - start), most - least)
    start = min(max(least, (start + end - length) // 2), most - length)
    return start, start + length
