"""Do parts of the images fare worse than the rest? Mistakes by the values of a column, with intervals. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moderator.tuning.evaluation_metrics import Estimate, Flags, difference, share

#: Most values of a column that are shown; rarer ones are joined.
SLICES_MAX = 30
#: The name of joined values, and of an empty one.
OTHER, EMPTY = "(others)", "(empty)"


@dataclass(frozen=True)
class Slice:
    """Images with one value in a column."""

    value: str
    safe: int
    alarms: Estimate
    """Share of the safe images that are flagged."""
    alarms_gap: Estimate
    """By how much it exceeds that of all other images."""
    unsafe: int
    missed: Estimate
    """Share of the images that show something that are allowed."""
    missed_gap: Estimate


@dataclass(frozen=True)
class Slices:
    """The slices of a column, the largest first."""

    column: str
    slices: tuple[Slice, ...]


def slices_by(column: str, values: Sequence[str], unsafe: Flags, flagged: Flags) -> Slices:
    """Return the mistakes among images of each value of a column.

    Args:
        column: its name.
        values: of each image, n.
        unsafe: bool [n], whether an image shows anything that is not allowed.
        flagged: bool [n], whether it would be blocked or go to people.
    """
    named = [value.strip() or EMPTY for value in values]
    common = {value for value, _ in Counter(named).most_common(SLICES_MAX)}
    named = [value if value in common else OTHER for value in named]
    order = sorted(Counter(named).items(), key=lambda one: (one[0] == OTHER, -one[1], one[0]))
    each = np.array(named, dtype=object)
    return Slices(column, tuple(_slice(value, each == value, unsafe, flagged) for value, _ in order))


def _slice(value: str, inside: Flags, unsafe: Flags, flagged: Flags) -> Slice:
    def shares(kind: Flags, mistaken: Flags) -> tuple[int, Estimate, Estimate]:
        within, outside = kind & inside, kind & ~inside
        own = share(int((within & mistaken).sum()), int(within.sum()))
        rest = share(int((outside & mistaken).sum()), int(outside.sum()))
        return int(within.sum()), own, difference(own, rest)

    safe, alarms, alarms_gap = shares(~unsafe, flagged)
    shown, missed, missed_gap = shares(unsafe, ~flagged)
    return Slice(value, safe, alarms, alarms_gap, shown, missed, missed_gap)
