"""Rectangles: what may be pictures pasted on another picture, from straight edges that meet in their corners."""

from itertools import combinations

from moderator.images.seams import Box, Edge

#: Share of a side that an edge covers, and by what share of it the edge may be longer: a sample shows ends roughly.
COVERED_SHARE = 0.5
LONGER_SHARE = 0.6
#: Sides inside the picture, the others being the picture's own: an edge from end to end would be one alone.
SIDES_MIN = 2
RECTANGLES_MAX = 6


def find_rectangles(upright: list[Edge], level: list[Edge], box: Box, shortest: int) -> list[Box]:
    """Return rectangles whose sides are edges or sides of the box, those with the best corners first.

    Args:
        upright: upright edges in the box.
        level: level edges in the box.
        box: the part of the picture that was searched.
        shortest: least side, in pixels.
    """
    if not upright or not level:
        return []
    left, top, right, bottom = box
    columns = sorted((*upright, *(Edge(x, top, bottom, 0.0) for x in (left, right))), key=_position)
    rows = sorted((*level, *(Edge(y, left, right, 0.0) for y in (top, bottom))), key=_position)
    ending = {edge: [_ends_near(edge, row.position) for row in rows] for edge in upright}
    found: list[tuple[float, Box]] = []
    for a, b in combinations(columns, 2):
        inner = [edge for edge in (a, b) if edge.share]
        x = a.position, b.position
        if not inner or x[1] - x[0] < shortest:
            continue
        both = map(all, zip(*(ending[edge] for edge in inner), strict=True))
        # First what each row must do alone: few are left to be paired.
        ends = [
            row for row, ends in zip(rows, both, strict=True) if ends and (not row.share or _covers(row, *x))
        ]
        for c, d in combinations(ends, 2):
            y = c.position, d.position
            sides = [*((edge, y) for edge in inner), *((edge, x) for edge in (c, d) if edge.share)]
            if len(sides) < SIDES_MIN or y[1] - y[0] < shortest:
                continue
            if all(_covers(edge, *y) for edge in inner):
                missed = sum(_missed(edge, *span) for edge, span in sides) / len(sides)
                found.append((missed, (x[0], y[0], x[1], y[1])))
    return [rectangle for _, rectangle in sorted(found)[:RECTANGLES_MAX]]


def _position(edge: Edge) -> int:
    return edge.position


def _ends_near(edge: Edge, position: int) -> bool:
    """Return whether an edge ends near a position, so that a corner may be there."""
    slack = LONGER_SHARE * (edge.end - edge.start)
    return abs(edge.start - position) <= slack or abs(edge.end - position) <= slack


def _covers(edge: Edge, start: int, end: int) -> bool:
    """Return whether an edge runs along a side, and not much further."""
    common = min(edge.end, end) - max(edge.start, start)
    return common >= COVERED_SHARE * (end - start) and edge.end - edge.start <= (1 + LONGER_SHARE) * (
        end - start
    )


def _missed(edge: Edge, start: int, end: int) -> float:
    """Return how far the ends of an edge are from those of a side, as a share of it."""
    return (abs(edge.start - start) + abs(edge.end - end)) / (end - start)


def area_of(box: Box) -> int:
    """Return the pixels that a box covers."""
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap_of(a: Box, b: Box) -> float:
    """Return the area that two boxes share, over that which they cover together."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0, width) * max(0, height)
    return common / (area_of(a) + area_of(b) - common)
