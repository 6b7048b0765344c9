import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.reports.blocks import BarChart, Bars, ChartMark, Histogram, LineChart, Series
from moderator.reports.charts import data_of, description_of, draw
from moderator.reports.frames import mark_rows
from moderator.reports.scales import Scale, number_text, round_range
from moderator.reports.shapes import WIDTH


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=5))
def test_a_rounded_range_holds_the_values_and_has_a_few_ticks(values: list[float]) -> None:
    low, high = round_range(values)
    slack = 1e-6 * max(abs(low), abs(high), 1e-300)
    assert low <= min(values) + slack
    assert high >= max(values) - slack
    assert low < high
    assert 2 <= len(Scale(low, high, 0, 500).ticks()) <= 12


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (1234567, "1,234,567"),
        (12345.6, "12,346"),
        (2.0, "2"),
        (math.nan, "-"),
        (0, "0"),
    ],
)
def test_numbers_are_written_as_people_do(value: float, text: str) -> None:
    assert number_text(value) == text


def test_a_line_goes_through_its_points() -> None:
    chart = LineChart("t", "x", "y", [Series("a", [0, 1], [0, 10])], x_range=(0, 1), y_range=(0, 10))
    (path,) = [shape for shape in draw(chart).shapes if shape.tag == "path"]
    start, end = [tuple(map(float, part.split(","))) for part in str(path.attributes["d"])[1:].split(" L")]
    assert start[0] < end[0]
    assert start[1] > end[1]  # upwards


def test_bars_are_as_long_as_their_values() -> None:
    chart = BarChart("t", ["a", "b"], [Bars("n", [1, 3])])
    widths = [float(s.attributes["width"]) for s in draw(chart).shapes if s.tag == "rect"]
    assert widths[1] == pytest.approx(3 * widths[0], rel=0.01)


def test_each_strip_of_a_histogram_has_a_scale_of_its_own() -> None:
    chart = Histogram("t", [0, 1, 2], [Bars("few", [1, 2]), Bars("many", [500, 1000])])
    heights = [float(s.attributes["height"]) for s in draw(chart).shapes if s.tag == "rect"]
    assert heights[:2] == heights[2:]


def test_names_of_near_marks_do_not_cover_each_other() -> None:
    marks = [ChartMark(0.5, "review 0.50"), ChartMark(0.52, "block 0.52"), ChartMark(0.9, "other")]
    assert mark_rows(marks, Scale(0, 1, 0, WIDTH)) == [0, 1, 0]


def test_nothing_is_drawn_outside() -> None:
    series = [Series("s" * 200, [0, 5, 9], [1, math.nan if n == 2 else 2, 3]) for n in range(9)]
    for chart in (
        LineChart("t", "x", "y", series, [ChartMark(99, "m" * 60)], x_range=(0, 9)),
        BarChart("t", ["l" * 300], [Bars("a", [5], [4], [9])], x_range=(0, 6)),
        Histogram("t", [0, 1], [Bars("a", [1])], [ChartMark(-3, "low")]),
    ):
        drawing = draw(chart)
        for shape in drawing.shapes:
            for name in ("x", "x1", "x2", "cx"):
                assert "nan" not in str(shape.attributes.get("d", ""))
                assert -1 <= float(shape.attributes.get(name, 0)) <= WIDTH, (shape, name)


def test_data_are_in_the_table_as_drawn() -> None:
    chart = LineChart("t", "x", "y", [Series("a", [0.5], [1], [0.9], [1.2]), Series("b", [2], [3])])
    table = data_of(chart)
    assert table.columns == ["series", "x", "y", "lower end", "upper end"]
    assert table.rows == [["a", "0.5", "1", "0.9", "1.2"], ["b", "2", "3", None, None]]
    assert "a, b" in description_of(chart)


def test_no_data_is_no_failure() -> None:
    for chart in (LineChart("t", "x", "y", []), BarChart("t", [], []), Histogram("t", [0, 1], [])):
        assert draw(chart).height > 0
        assert data_of(chart).rows in ([], [["0", "1"]])
