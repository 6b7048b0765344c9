"""Choose the views of a picture: the whole, and parts that a viewer sees as pictures of their own.

The evidence is in the decoded pixels alone: borders and gaps of one colour (`moderator.images.blank`), and straight
edges between pictures (`moderator.images.seams`). A photograph that fills its frame has one view, the whole.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

from PIL import Image

from moderator.images.blank import Content, around, find_content, gaps, is_blank, is_noise
from moderator.images.layout_screen import LayoutScreen, line_steps
from moderator.images.rectangles import area_of, find_rectangles, overlap_of
from moderator.images.seams import (
    Box,
    Edge,
    Levels,
    checked,
    sample,
    short_edges,
    spanning_edges,
    upright_steps,
)
from moderator.images.tiling import squares, tiles
from moderator.view import LONG_RATIO, TURNS, ViewPlan

#: A view covers at most this share of the picture: a larger one would show the same as the whole. A thing on a
#: background of one colour is seen well in the whole, unless it is smaller.
RECTANGLE_AREA_MAX = 0.85
THING_AREA_MAX = 0.5
#: A part is no picture of its own below this share of the picture's shorter side, or this many pixels.
SIDE_MIN_SHARE = 0.14
SIDE_MIN_PIXELS = 24
#: The same for a pasted picture, of which all four sides are known.
PASTED_SIDE_MIN_SHARE = 0.1
#: An empty line separates contents of at least this share of a side: lines of text are no pictures of their own.
CONTENT_SHARE = 0.25
#: A part with a shorter side below this share of the picture's, such as a bar of buttons, is not covered by squares,
#: unless it is all that there is.
SQUARES_SIDE_MIN_SHARE = 0.3
#: Least share of an edge from end to end that has steps: in the whole picture, and in a part of one, which is surely
#: composed.
EDGE_SHARE, INNER_EDGE_SHARE = 0.65, 0.55
#: Least share of the sides of a pasted picture that has steps: on average, and of each.
SIDE_EDGE_SHARE, SIDE_EDGE_SHARE_MIN = 0.6, 0.4
#: Of two parts that overlap more than this share of their union, only the first is a view.
OVERLAP_MAX = 0.8
#: Pieces that together have this share of the area of a picture are all of it: what is left out are slivers.
COVERED_SHARE = 0.9
#: Side of the patches that show whether there is noise.
PATCH_PIXELS = 48
#: Most parts that are searched for further parts.
SEARCHES_MAX = 24
#: A picture of that many pixels without parts is also judged in tiles.
TILED_PIXELS_MIN = 30_000_000


@dataclass(frozen=True)
class Region:
    """A part of a decoded picture: the name of its view, its bounds, and by how many degrees it is turned."""

    name: str
    box: Box
    turn: int = 0


def choose_views(picture: Image.Image, plan: ViewPlan, pixels: int = 0) -> tuple[list[Region], int]:
    """Return the views of a picture, the whole first, and how many more there are than the plan allows.

    Args:
        picture: mode RGB.
        plan: most views, and whether to turn pictures.
        pixels: width x height of the picture in the file, if it was decoded at a reduced size.
    """
    whole = Region("whole", (0, 0, *picture.size))
    if plan.most == 1:
        return [whole], 0
    is_long = max(picture.size) >= LONG_RATIO * min(picture.size)
    others: list[Region] = []
    screen = LayoutScreen(picture)
    if is_long or screen.may_be_composed:
        search = _Search(picture, has_edges=lambda: is_long or screen.has_edges)
        others = _distinct(whole.box, search.run())
    if not others and max(pixels, picture.width * picture.height) >= TILED_PIXELS_MIN:
        others = [Region("tile", box) for box in tiles(*picture.size)]
    parts = [whole, *others]
    if plan.turned:
        turned = [[Region(part.name, part.box, turn) for turn in TURNS[1:]] for part in parts]
        parts = [whole, *turned[0], *others, *(part for copies in turned[1:] for part in copies)]
    return parts[: plan.most], max(0, len(parts) - plan.most)


class _Search:
    """A search for the parts of a picture: each part that is found is searched again.

    Args:
        picture: mode RGB.
        has_edges: whether nearly the whole of it may have edges between pictures.
    """

    def __init__(self, picture: Image.Image, has_edges: Callable[[], bool]) -> None:
        self._picture = picture
        self._has_edges = has_edges
        self._whole: Box = (0, 0, *picture.size)
        self._side = min(picture.size)
        self._shortest = max(SIDE_MIN_PIXELS, int(SIDE_MIN_SHARE * self._side))

    def run(self) -> list[Region]:
        """Return the parts, most important first: the content without borders, then pictures by their size."""
        content, pieces = self._search(self._whole)
        if content is None:
            return []
        leading = [Region("trimmed", content)] if content != self._whole else []
        along = [] if pieces else self._squares(content, self._shortest)
        rest = self._rest_of(pieces, content)
        found: list[tuple[int, Region]] = []
        parents: list[Region] = []
        waiting, searches = deque(pieces), 1
        while waiting:
            box = waiting.popleft()
            content, inner = self._search(box) if searches < SEARCHES_MAX else (box, [])
            searches += 1
            if content is None:
                continue
            waiting += inner
            part = Region("trimmed" if box == rest else "panel", content)
            if inner:
                parents.append(part)
            else:
                # By its size with its borders, so that the pictures of a grid stay together.
                found.append((area_of(box), part))
                along += self._squares(content, SQUARES_SIDE_MIN_SHARE * self._side)
        # Of parts of one size, squares come first: they belong to a larger one, which is squeezed in its own view.
        found = [*((area_of(square.box), square) for square in along), *found]
        shown = [part for _, part in sorted(found, key=lambda one: -one[0])]
        parents.sort(key=lambda part: -area_of(part.box))
        return [*leading, *shown, *parents]

    def _rest_of(self, pieces: list[Box], content: Box) -> Box | None:
        """Return the piece that is not empty, if it is the only one and all of them cover the content."""
        if sum(map(area_of, pieces)) < COVERED_SHARE * area_of(content):
            return None
        shown = [piece for piece in pieces if not self._is_empty(piece, sample(self._picture, piece))]
        return shown[0] if len(shown) == 1 else None

    def _search(self, box: Box) -> tuple[Box | None, list[Box]]:
        """Return the content of a part, None if it is empty, and the parts inside it."""
        whole = box == self._whole
        levels = sample(self._picture, box)
        found = find_content(levels, noisy=cache(partial(self._noisy, box)))
        if found is None or (not whole and self._is_empty(box, levels)):
            return None, []
        inner = _scaled(found, levels, box)
        content = box
        if inner != box:
            if min(inner[2] - inner[0], inner[3] - inner[1]) < self._shortest:
                inner = around(inner, box)
            shown = inner if found.rectangle else around(inner, box)
            most = THING_AREA_MAX if not found.rectangle else RECTANGLE_AREA_MAX if whole else 1.0
            if area_of(shown) <= most * area_of(box):
                content = shown
            levels = sample(self._picture, inner)
        return content, self._split(inner, levels, found.rectangle)

    def _is_empty(self, box: Box, levels: Levels) -> bool:
        """Return whether a part shows nothing: one colour, or noise alone."""
        return is_blank(levels) or (is_noise(levels) and self._noisy(box))

    def _noisy(self, box: Box) -> bool:
        """Return whether a corner of a part is noise. A sample does not show it: its pixels are no neighbours."""
        left, top, right, bottom = box
        width, height = min(PATCH_PIXELS, right - left), min(PATCH_PIXELS, bottom - top)
        corners = [(x, y) for x in (left, right - width) for y in (top, bottom - height)]
        return any(is_noise(sample(self._picture, (x, y, x + width, y + height))) for x, y in corners)

    def _split(self, box: Box, levels: Levels, rectangle: bool) -> list[Box]:
        """Return the parts of a content: between gaps, else between edges from end to end, else pasted rectangles.

        What is no rectangle has no edges from end to end: a label across a bottle is none.
        """
        sideways = levels.transpose(0, 2, 1)
        for view, upright in ((levels, False), (sideways, True)):
            if cuts := gaps(view, self._least(view, box, upright)):
                start, end = (box[0], box[2]) if upright else (box[1], box[3])
                scale = (end - start) / view.shape[1]
                pieces = self._pieces(box, [start + round(cut * scale) for cut in cuts], upright)
                # Several things on one background are one photograph; pictures are rectangles.
                if any(self._has_rectangle(piece) for piece in pieces):
                    return pieces
        if area_of(box) > RECTANGLE_AREA_MAX * area_of(self._whole) and not self._has_edges():
            return []
        steps = {True: upright_steps(levels), False: upright_steps(sideways)}
        spanning: dict[bool, list[Edge]] = {}
        if rectangle:
            least = EDGE_SHARE if box == self._whole else INNER_EDGE_SHARE
            spanning = {way: spanning_edges(self._picture, box, steps[way], way, least) for way in steps}
        if any(spanning.values()):
            upright = max(steps, key=lambda way: max((edge.share for edge in spanning[way]), default=0.0))
            pieces = self._pieces(box, [edge.position for edge in spanning[upright]], upright)
            if len(pieces) > 1 or (pieces and area_of(pieces[0]) <= RECTANGLE_AREA_MAX * area_of(box)):
                return pieces
        share, shortest = SIDE_EDGE_SHARE, self._shortest
        if box == self._whole:
            # On a photograph, the steps of a pasted picture stand out along whole lines alone. In a part, which may be
            # a photograph itself, only sure ones count.
            steps = {way: line_steps(self._picture, way) for way in steps}
            share = SIDE_EDGE_SHARE_MIN
            shortest = max(SIDE_MIN_PIXELS, int(PASTED_SIDE_MIN_SHARE * self._side))
        upright_edges = short_edges(box, steps[True], True)
        level_edges = short_edges(box, steps[False], False) if upright_edges else []
        rectangles = find_rectangles(upright_edges, level_edges, box, shortest)
        scale = max((box[2 + n] - box[n]) / (steps[way].shape[1] + 1) for n, way in enumerate((True, False)))
        found: list[Box] = []
        for one in rectangles:
            if not any(overlap_of(one, other) for other in found):
                exact = self._bounded(one, box, scale, share)
                found += [exact] if exact is not None else []
        return found

    def _bounded(self, rectangle: Box, box: Box, reach: float, least: float) -> Box | None:
        """Return the exact bounds of a rectangle; None if its sides are no edges in the picture itself."""
        exact = list(rectangle)
        shares: list[float] = []
        for side, position in enumerate(rectangle):
            if position == box[side]:
                continue
            upright = side % 2 == 0
            start, end = (rectangle[1], rectangle[3]) if upright else (rectangle[0], rectangle[2])
            edge = checked(self._picture, Edge(position, start, end, 0.0), reach, upright)
            if edge.share < least:
                return None
            shares.append(edge.share)
            exact[side] = edge.position
        if sum(shares) < SIDE_EDGE_SHARE * len(shares):
            return None
        return exact[0], exact[1], exact[2], exact[3]

    def _has_rectangle(self, box: Box) -> bool:
        """Return whether the content of a part is a rectangle."""
        found = find_content(sample(self._picture, box), noisy=lambda: False)
        return found is not None and found.rectangle

    def _least(self, view: Levels, box: Box, upright: bool) -> int:
        """Return the fewest samples of a content between gaps."""
        side = box[2] - box[0] if upright else box[3] - box[1]
        rows: int = view.shape[1]
        return math.ceil(max(CONTENT_SHARE, self._shortest / side) * rows)

    def _pieces(self, box: Box, cuts: list[int], upright: bool) -> list[Box]:
        """Cut a box at positions, and drop pieces that are too small."""
        left, top, right, bottom = box
        start, end = (left, right) if upright else (top, bottom)
        across = (bottom - top) if upright else (right - left)
        places = [start, *sorted(cuts), end]
        return [
            (a, top, b, bottom) if upright else (left, a, right, b)
            for a, b in pairwise(places)
            if min(b - a, across) >= self._shortest
        ]

    def _squares(self, box: Box, shortest: float) -> list[Region]:
        """Return overlapping squares along a long part, without empty ones, widely spread first.

        None if it is not long, or its shorter side is below a number of pixels.
        """
        side, length = sorted((box[2] - box[0], box[3] - box[1]))
        if length < LONG_RATIO * side or side < shortest:
            return []
        return [
            Region("square", square)
            for square in squares(box)
            if not self._is_empty(square, sample(self._picture, square))
        ]


def _scaled(content: Content, levels: Levels, box: Box) -> Box:
    """Return the bounds of a content in pixels."""
    left, top, right, bottom = box
    across, down = (right - left) / levels.shape[2], (bottom - top) / levels.shape[1]
    return (
        left + round(content.left * across),
        top + round(content.top * down),
        left + round(content.right * across),
        top + round(content.bottom * down),
    )


def _distinct(whole: Box, parts: list[Region]) -> list[Region]:
    """Leave out parts that show nearly the same as the whole or as an earlier part."""
    kept: list[Region] = []
    for part in parts:
        if all(overlap_of(part.box, other) <= OVERLAP_MAX for other in (whole, *(one.box for one in kept))):
            kept.append(part)
    return kept
