"""Draw charts as shapes, and give their data as tables."""

from collections.abc import Sequence
from itertools import pairwise

from moderator.reports.blocks import BarChart, Bars, Cell, Chart, DataTable, Histogram, LineChart, Series
from moderator.reports.frames import (
    BELOW,
    LEFT,
    LINE_HEIGHT,
    RIGHT,
    draw_marks,
    horizontal_axis,
    legend,
    marks_height,
    tone_of,
    vertical_axis,
)
from moderator.reports.scales import Scale, number_text, round_range
from moderator.reports.shapes import WIDTH, Drawing, shortened, text_width

_PLOT_HEIGHT = 230.0
_STRIP_HEIGHT = 84.0
_STRIP_GAP = 16.0
_BAR_HEIGHT = 15.0
#: Most of the width that the labels of bars take.
_LABELS_SHARE = 0.36


def draw(chart: Chart) -> Drawing:
    """Draw a chart."""
    match chart:
        case LineChart():
            return _draw_lines(chart)
        case Histogram():
            return _draw_histogram(chart)
        case BarChart():
            return _draw_bars(chart)


def data_of(chart: Chart) -> DataTable:
    """Return the values that a chart shows, as a table."""
    match chart:
        case LineChart():
            rows = [
                [one.name, number_text(x), number_text(y), *_interval(one, n)]
                for one in chart.series
                for n, (x, y) in enumerate(zip(one.x, one.y, strict=True))
            ]
            columns = ["series", chart.x_label, chart.y_label]
            return _with_intervals(chart, columns, rows, chart.series)
        case Histogram():
            columns = ["from", "to", *(one.name for one in chart.series)]
            return DataTable(
                chart.title,
                columns,
                [
                    [
                        number_text(low),
                        number_text(high),
                        *(number_text(one.values[n]) for one in chart.series),
                    ]
                    for n, (low, high) in enumerate(pairwise(chart.edges))
                ],
            )
        case BarChart():
            rows = [
                [label, one.name, number_text(one.values[n]), *_interval(one, n)]
                for n, label in enumerate(chart.labels)
                for one in chart.series
            ]
            return _with_intervals(chart, ["bar", "series", chart.x_label or "value"], rows, chart.series)


def description_of(chart: Chart) -> str:
    """Return what a chart shows, in words."""
    if chart.description:
        return chart.description
    names = ", ".join(one.name for one in chart.series)
    marks = (
        [] if isinstance(chart, BarChart) else [f"{one.label} at {number_text(one.x)}" for one in chart.marks]
    )
    return f"{chart.title}: {names}{'; ' + ', '.join(marks) if marks else ''}. The values follow in a table."


def _draw_lines(chart: LineChart) -> Drawing:
    drawing = Drawing(0)
    top = legend(drawing, chart.series) + 6
    ends = [v for s in chart.series for part in (s.y, s.low or (), s.high or ()) for v in part]
    x_range = chart.x_range or round_range(v for s in chart.series for v in s.x)
    x = Scale(*x_range, LEFT, WIDTH - RIGHT)
    top += marks_height(chart.marks, x)
    bottom = top + _PLOT_HEIGHT
    y = Scale(*(chart.y_range or round_range(ends)), bottom, top)
    drawing.height = bottom + BELOW
    horizontal_axis(drawing, x, top, bottom, chart.x_label)
    vertical_axis(drawing, y, LEFT, WIDTH - RIGHT, chart.y_label)
    for number, one in enumerate(chart.series):
        if one.low is not None and one.high is not None and not one.points:
            upper = [(x(a), y(b)) for a, b in zip(one.x, one.high, strict=True)]
            lower = [(x(a), y(b)) for a, b in zip(one.x, one.low, strict=True)]
            drawing.path(f"band {tone_of(one, number)}", [*upper, *reversed(lower)], closed=True)
    draw_marks(drawing, chart.marks, x, top, bottom)
    for number, one in enumerate(chart.series):
        places = [(x(a), y(b)) for a, b in zip(one.x, one.y, strict=True)]
        tone = tone_of(one, number)
        if not one.points:
            drawing.path(f"stroke {tone}", places)
            continue
        for n, (a, b) in enumerate(places):
            if one.low is not None and one.high is not None:
                drawing.line(f"whisker {tone}", a, y(one.low[n]), a, y(one.high[n]))
            drawing.dot(f"dot {tone}", a, b, f"{number_text(one.x[n])}: {number_text(one.y[n])}")
    return drawing


def _draw_histogram(chart: Histogram) -> Drawing:
    drawing = Drawing(0)
    x = Scale(chart.edges[0], chart.edges[-1], LEFT, WIDTH - RIGHT)
    top = marks_height(chart.marks, x) + 8
    pitch = LINE_HEIGHT + _STRIP_HEIGHT + _STRIP_GAP
    bottom = top + pitch * len(chart.series) - _STRIP_GAP
    drawing.height = bottom + BELOW
    horizontal_axis(drawing, x, top, bottom, chart.x_label)
    for number, one in enumerate(chart.series):
        base = top + pitch * number + LINE_HEIGHT + _STRIP_HEIGHT
        tone = tone_of(one, number)
        most = max(max(one.values, default=0), 1)
        y = Scale(0, most, base, base - _STRIP_HEIGHT)
        for (low, high), value in zip(pairwise(chart.edges), one.values, strict=True):
            hint = f"{number_text(low)} to {number_text(high)}: {number_text(value)}"
            if value:
                drawing.box(
                    f"fill {tone}", x(low) + 0.5, y(value), x(high) - x(low) - 1, base - y(value), hint
                )
        drawing.line("axis", LEFT, base, WIDTH - RIGHT, base)
        drawing.text("tick", LEFT - 8, base - _STRIP_HEIGHT + 9, number_text(most), "end")
        drawing.text("tick", LEFT - 8, base, "0", "end")
        drawing.text(f"strip-label {tone}", LEFT + 4, base - _STRIP_HEIGHT - 6, one.name)
    draw_marks(drawing, chart.marks, x, top, bottom)
    return drawing


def _draw_bars(chart: BarChart) -> Drawing:
    drawing = Drawing(0)
    top = legend(drawing, chart.series) + 8
    widest = max((text_width(label) for label in chart.labels), default=0.0)
    left = min(widest, WIDTH * _LABELS_SHARE) + 12
    thick = 1 if chart.stacked else len(chart.series)
    pitch = thick * _BAR_HEIGHT + 12
    bottom = top + pitch * len(chart.labels)
    drawing.height = bottom + (BELOW if chart.x_label else BELOW - 20)
    x = Scale(*(chart.x_range or round_range(_bar_ends(chart), from_zero=True)), left, WIDTH - RIGHT - 8)
    horizontal_axis(drawing, x, top, bottom, chart.x_label)
    for row, label in enumerate(chart.labels):
        y = top + row * pitch + 6
        middle = y + thick * _BAR_HEIGHT / 2
        drawing.text("label", left - 8, middle + 4, shortened(label, left - 12), "end")
        start = 0.0
        for number, one in enumerate(chart.series):
            value, tone = float(one.values[row]), tone_of(one, number)
            hint = f"{label}, {one.name}: {number_text(value)}"
            if chart.stacked:
                drawing.box(
                    f"fill {tone}", x(start), y, max(x(start + value) - x(start) - 1, 0), _BAR_HEIGHT, hint
                )
                start += value
                continue
            at = y + number * _BAR_HEIGHT
            places = sorted((x(0), x(value)))
            drawing.box(f"fill {tone}", places[0], at + 1, places[1] - places[0], _BAR_HEIGHT - 2, hint)
            if one.low is not None and one.high is not None:
                line = at + _BAR_HEIGHT / 2
                drawing.line("whisker", x(one.low[row]), line, x(one.high[row]), line)
    return drawing


def _bar_ends(chart: BarChart) -> list[float]:
    if chart.stacked:
        return [sum(float(one.values[row]) for one in chart.series) for row in range(len(chart.labels))]
    parts = [part for one in chart.series for part in (one.values, one.low or (), one.high or ())]
    return [float(value) for part in parts for value in part]


def _interval(series: Series | Bars, number: int) -> list[Cell]:
    if series.low is None or series.high is None:
        return [None, None]
    return [number_text(series.low[number]), number_text(series.high[number])]


def _with_intervals(
    chart: Chart, columns: list[str], rows: list[list[Cell]], series: Sequence[Series | Bars]
) -> DataTable:
    if any(one.low is not None for one in series):
        return DataTable(chart.title, [*columns, "lower end", "upper end"], rows)
    return DataTable(chart.title, columns, [row[:-2] for row in rows])
