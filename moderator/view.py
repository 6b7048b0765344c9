"""A view, which is what the model sees in one row of its input, and how many a policy asks for. Pure data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

#: The whole picture; what remains of it without borders or background; a part found by its edges or by empty space
#: around it; one of several squares along a long picture; a part of a regular grid.
VIEW_NAMES = ("whole", "trimmed", "panel", "square", "tile")
#: Degrees, counterclockwise.
TURNS = (0, 90, 180, 270)
#: From this ratio of its sides, a part is long: squares along it show what a model's square cuts off.
LONG_RATIO = 1.9


@dataclass(frozen=True, slots=True)
class View:
    """A part of a picture that is judged by itself."""

    name: str
    frame: int
    """Number of the frame in the file, from 0."""
    box: tuple[int, int, int, int]
    """x, y, width and height in pixels of the upright picture, before turning."""
    turn: int = 0
    """By how many degrees the part is turned, counterclockwise: 0, 90, 180 or 270."""

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole picture as it stands."""
        return self.name == "whole" and not self.turn

    @property
    def is_long(self) -> bool:
        """Whether the model's square does not show all of it well."""
        return max(self.box[2:]) >= LONG_RATIO * min(self.box[2:])


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """The views that a policy asks for: most views of one picture, and whether pictures are also turned."""

    most: int = 1
    turned: bool = False

    def __str__(self) -> str:
        return f"{self.most}{'-turned' if self.turned else ''}"


def pictures_of(views: Sequence[View]) -> list[int]:
    """Return the number of the picture that each view shows. A frame may be shown in several pictures (renderings).

    Args:
        views: those of the first picture, its whole first, then those of the next.
    """
    return [number - 1 for number in accumulate(view.is_whole for view in views)]


def rows_of(plan: ViewPlan, views: Sequence[View]) -> list[int]:
    """Return the rows that a plan includes of the views made for another, in order: at most `most` of each picture."""
    seen: Counter[int] = Counter()
    rows = []
    for row, (picture, view) in enumerate(zip(pictures_of(views), views, strict=True)):
        if (plan.turned or not view.turn) and seen[picture] < plan.most:
            seen[picture] += 1
            rows.append(row)
    return rows
