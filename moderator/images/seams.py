"""Find straight edges in a picture: where one picture ends and another one begins.

An edge between two pictures is a step between neighbouring pixels that runs along a straight line, exactly upright or
level, and is sharper than what lies beside it. The edges of things in photographs seldom are all of that.

Edges are looked for in a sample of at most `SAMPLES_MAX` x `SAMPLES_MAX` pixels, and then checked in the picture
itself.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: left, top, right, bottom, in pixels of the decoded picture.
Box = tuple[int, int, int, int]
Levels = NDArray[np.int16]

#: Samples along each side.
SAMPLES_MAX = 96
#: Least step between two neighbouring pixels of an edge, in levels of 255, beyond twice the steps beside it.
STEP_LEVELS = 16
#: Least share of a line of the sample with such steps, to be worth checking.
CANDIDATE_SHARE = 0.45
#: A shorter edge is looked for in windows of this share of a side, with this share of steps in each; its least length,
#: as a share; most of them.
WINDOW_SHARE = 1 / 12
WINDOW_STEPS_SHARE = 0.55
EDGE_LENGTH_SHARE = 0.14
SHORT_EDGES_MAX = 5
#: Most edges from end to end that are checked: a striped picture would have a hundred.
SPANNING_EDGES_MAX = 16
#: Most pixels along an edge that are checked.
CHECKED_PIXELS_MAX = 256


@dataclass(frozen=True)
class Edge:
    """An upright or level edge: position across, start and end along, in pixels; the share of it that has steps."""

    position: int
    start: int
    end: int
    share: float


def sample(picture: Image.Image, box: Box) -> Levels:
    """Return evenly spread pixels of a part of an RGB picture: int16 [3, rows, columns]."""
    left, top, right, bottom = box
    size = min(right - left, SAMPLES_MAX), min(bottom - top, SAMPLES_MAX)
    pixels = np.asarray(picture.resize(size, Image.Resampling.NEAREST, box=box))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.int16)


def upright_steps(levels: Levels) -> NDArray[np.bool_]:
    """Return where neighbouring columns differ more than those beside them: bool [rows, columns - 1]."""
    differences = np.abs(np.diff(levels, axis=2)).max(axis=0)
    steps = np.zeros(differences.shape, dtype=np.bool_)
    if differences.shape[1] > 2:
        # Where a picture meets noise or a rough surface, only one side is quiet.
        quiet = np.minimum(differences[:, :-2], differences[:, 2:])
        steps[:, 1:-1] = differences[:, 1:-1] > STEP_LEVELS + 2 * quiet
    return steps


def spanning_edges(
    picture: Image.Image, box: Box, steps: NDArray[np.bool_], upright: bool, least: float
) -> list[Edge]:
    """Return the edges from one end of a box to the other, in order of position.

    Args:
        picture: mode RGB.
        box: the part that was sampled.
        steps: bool [along, across], from `upright_steps` of the sample (of the transposed one for level edges).
        upright: whether the edges are upright.
        least: share of an edge that has steps.
    """
    shares = np.add.reduce(steps, axis=0, dtype=np.int16) / max(1, len(steps))
    if not len(shares) or shares.max() < CANDIDATE_SHARE:
        return []
    left, top, right, bottom = _axes(box, upright)
    scale = (right - left) / (steps.shape[1] + 1)
    found: list[Edge] = []
    surest = np.sort(np.argsort(-shares, kind="stable")[:SPANNING_EDGES_MAX])
    for at in surest[shares[surest] >= CANDIDATE_SHARE].tolist():
        if shares[at] < shares[max(0, at - 1) : at + 2].max():
            continue
        edge = checked(picture, Edge(left + round((at + 1) * scale), top, bottom, 0.0), scale, upright)
        if edge.share >= least and (not found or edge.position - found[-1].position > 2):
            found.append(edge)
    return found


def short_edges(box: Box, steps: NDArray[np.bool_], upright: bool) -> list[Edge]:
    """Return what may be edges along a part of a box, as exactly as the sample shows; arguments as `spanning_edges`."""
    along = steps.shape[0]
    window = max(6, int(along * WINDOW_SHARE))
    if along <= window:
        return []
    sums = np.zeros((along + 1, steps.shape[1]), dtype=np.int16)
    np.cumsum(steps, axis=0, out=sums[1:])
    dense = sums[window:] - sums[:-window] >= math.ceil(WINDOW_STEPS_SHARE * window)
    lengths = np.add.reduce(dense, axis=0, dtype=np.int16)
    least = max(1.0, along * EDGE_LENGTH_SHARE - window)
    left, top, right, bottom = _axes(box, upright)
    across, down = (right - left) / (steps.shape[1] + 1), (bottom - top) / along
    found: dict[int, Edge] = {}
    for at in np.argsort(-lengths, kind="stable")[: 4 * SHORT_EDGES_MAX].tolist():
        if lengths[at] < least or len(found) == SHORT_EDGES_MAX:
            break
        if found.keys() & {at - 1, at, at + 1}:
            continue
        start, end = _longest_run(dense[:, at], window)
        if end - start >= least:
            # The windows at both ends hang over by the share that may be without steps.
            over = (1 - WINDOW_STEPS_SHARE) * window / 2
            first, last = top + round((start + over) * down), top + round((end + window - 1 - over) * down)
            found[at] = Edge(left + round((at + 1) * across), first, last, float(lengths[at] / along))
    return list(found.values())


def checked(picture: Image.Image, edge: Edge, reach: float, upright: bool) -> Edge:
    """Return an edge with its exact position, and its share in the pixels themselves.

    Args:
        picture: mode RGB.
        edge: roughly where it is.
        reach: how far it may be from there, in pixels.
        upright: whether it is upright.
    """
    side, length = picture.size if upright else picture.size[::-1]
    wide = math.ceil(reach) + 4
    first, last = max(0, edge.position - wide), min(side, edge.position + wide)
    start, end = max(0, edge.start), min(length, max(edge.end, edge.start + 1))
    strip = (first, start, last, end) if upright else (start, first, end, last)
    along = min(end - start, CHECKED_PIXELS_MAX)
    size = (last - first, along) if upright else (along, last - first)
    pixels = np.asarray(picture.resize(size, Image.Resampling.NEAREST, box=strip)).astype(np.int16)
    if not upright:
        pixels = pixels.transpose(1, 0, 2)
    differences = np.abs(np.diff(pixels, axis=1)).max(axis=2)
    if differences.shape[1] < 5:
        return edge
    # Resizing and compression spread an edge over two pixels, so the step beside it may belong to it.
    quiet = np.minimum(differences[:, :-4], differences[:, 4:])
    shares = (differences[:, 2:-2] > STEP_LEVELS + 2 * quiet).mean(axis=0)
    best = int(np.argmax(shares))
    return Edge(first + best + 3, start, end, float(shares[best]))


def _axes(box: Box, upright: bool) -> Box:
    """Return the bounds of a box across and along its edges."""
    left, top, right, bottom = box
    return box if upright else (top, left, bottom, right)


def _longest_run(flags: NDArray[np.bool_], gap: int) -> tuple[int, int]:
    """Return start and end of the longest run of flags, the first of several; gaps up to a length do not end it."""
    places = np.flatnonzero(flags).tolist()
    start = end = first = before = places[0]
    for place in places:
        if place - before > gap:
            first = place
        before = place
        if place + 1 - first > end - start:
            start, end = first, place + 1
    return start, end
