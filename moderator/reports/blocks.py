"""What a report shows: tables, charts and pictures, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: A cell of a table. None: there is no value.
Cell = str | int | float | None
#: Colours with a meaning: the decisions, the thing looked for, what stands behind, and a line to compare with.
#: Without one, each series has a colour of its own.
Tone = Literal["allow", "review", "block", "accent", "quiet", "guide"]


@dataclass(frozen=True)
class DataTable:
    """A table. Columns of numbers are set to the right."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Series:
    """A line of a chart, or points without a line."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    """Lower end of an interval at each point."""
    high: Sequence[float] | None = None
    tone: Tone | None = None
    points: bool = False
    """Whether to draw the points themselves instead of a line through them."""


@dataclass(frozen=True)
class Bars:
    """A value for each bin of a histogram, or for each label of a bar chart."""

    name: str
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    tone: Tone | None = None


@dataclass(frozen=True)
class ChartMark:
    """A place on the horizontal axis with its name, such as a threshold."""

    x: float
    label: str
    tone: Tone = "accent"


@dataclass(frozen=True)
class LineChart:
    """Lines over a horizontal axis, with bands where they have intervals."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    marks: Sequence[ChartMark] = ()
    x_range: tuple[float, float] | None = None
    """Default: that of the data, rounded."""
    y_range: tuple[float, float] | None = None
    description: str = ""
    """What the chart shows, in words; default: made from the names."""


@dataclass(frozen=True)
class Histogram:
    """Counts in bins: a strip for each series, with a scale of its own, one below the other."""

    title: str
    edges: Sequence[float]
    """Of the bins: one more than values."""
    series: Sequence[Bars]
    marks: Sequence[ChartMark] = ()
    x_label: str = ""
    description: str = ""


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars for each label, with whiskers where they have intervals."""

    title: str
    labels: Sequence[str]
    series: Sequence[Bars]
    x_label: str = ""
    stacked: bool = False
    """Whether the bars of a label follow each other in one line."""
    x_range: tuple[float, float] | None = None
    description: str = ""


@dataclass(frozen=True)
class SheetItem:
    """A picture with what is said of it."""

    thumbnail: bytes | None
    """The file of a small picture, see `moderator.reports.thumbnails`; None: it cannot be shown."""
    title: str
    facts: Sequence[str] = ()


@dataclass(frozen=True)
class ContactSheet:
    """Small pictures in rows."""

    title: str
    items: Sequence[SheetItem]
    text: str = ""


Chart = LineChart | Histogram | BarChart
Block = DataTable | Chart | ContactSheet
