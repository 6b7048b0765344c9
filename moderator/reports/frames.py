"""What charts share: legends, axes, and marks that name places on the horizontal axis."""

from collections.abc import Sequence

from moderator.reports.blocks import Bars, ChartMark, Series
from moderator.reports.scales import Scale
from moderator.reports.shapes import WIDTH, Drawing, shortened, text_width

#: Space around the plot, in the drawing's units: for the numbers of the vertical axis, and for those below.
LEFT, RIGHT, BELOW = 56.0, 14.0, 50.0
LINE_HEIGHT = 20.0
_SWATCH = 18.0
_COLOURS = 6


def tone_of(series: Series | Bars, number: int) -> str:
    """Return the class that colours a series: its own tone, or that of its number."""
    return f"t-{series.tone}" if series.tone is not None else f"t-{number % _COLOURS + 1}"


def legend(drawing: Drawing, series: Sequence[Series | Bars]) -> float:
    """Draw the names of series at the top, and return the height that they take; of a single one, none."""
    if len(series) < 2:
        return 4.0
    x, y = LEFT, 14.0
    for number, one in enumerate(series):
        name = shortened(one.name, WIDTH - LEFT - RIGHT - _SWATCH)
        width = _SWATCH + text_width(name) + 14
        if x + width > WIDTH and x > LEFT:
            x, y = LEFT, y + LINE_HEIGHT
        tone = tone_of(one, number)
        if isinstance(one, Series) and one.points:
            drawing.dot(f"dot {tone}", x + 6, y - 4)
        elif isinstance(one, Series):
            drawing.line(f"stroke {tone}", x, y - 4, x + 13, y - 4)
        else:
            drawing.box(f"fill {tone}", x, y - 10, 12, 12)
        drawing.text("label", x + _SWATCH, y, name)
        x += width
    return y + 12.0


def horizontal_axis(drawing: Drawing, scale: Scale, top: float, bottom: float, label: str) -> None:
    """Draw round values below a plot, their lines in it, and the name of the axis."""
    for x, text in scale.ticks():
        drawing.line("grid", x, top, x, bottom)
        drawing.text("tick", x, bottom + 18, text, "middle")
    drawing.line("axis", scale.start, bottom, scale.end, bottom)
    drawing.text("label", (scale.start + scale.end) / 2, bottom + 40, label, "middle")


def vertical_axis(drawing: Drawing, scale: Scale, left: float, right: float, label: str) -> None:
    """Draw round values left of a plot, their lines in it, and the name of the axis."""
    for y, text in scale.ticks():
        drawing.line("grid", left, y, right, y)
        drawing.text("tick", left - 8, y + 4, text, "end")
    drawing.upright_text("label", 13, (scale.start + scale.end) / 2, label)


def mark_rows(marks: Sequence[ChartMark], scale: Scale) -> list[int]:
    """Return the row in which the name of each mark stands, so that none covers another."""
    ends: list[float] = []
    rows = []
    for mark in sorted(marks, key=lambda one: one.x):
        x, width = scale(mark.x), text_width(mark.label) + 8
        row = next((n for n, end in enumerate(ends) if end <= x - width / 2), len(ends))
        ends[row : row + 1] = [x + width / 2]
        rows.append(row)
    return rows


def draw_marks(drawing: Drawing, marks: Sequence[ChartMark], scale: Scale, top: float, bottom: float) -> None:
    """Draw a line for each mark, with its name above the plot."""
    rows = mark_rows(marks, scale)
    for mark, row in zip(sorted(marks, key=lambda one: one.x), rows, strict=True):
        x, y = scale(mark.x), top - 8 - row * LINE_HEIGHT
        half = text_width(mark.label) / 2
        drawing.line(f"mark t-{mark.tone}", x, y + 4, x, bottom)
        drawing.text(
            f"mark-label t-{mark.tone}",
            min(max(x, half), WIDTH - half - 2),
            y,
            mark.label,
            "middle",
        )


def marks_height(marks: Sequence[ChartMark], scale: Scale) -> float:
    """Return the height that the names of marks take above a plot."""
    rows = mark_rows(marks, scale)
    return LINE_HEIGHT * (max(rows) + 1) + 4 if rows else 0.0
