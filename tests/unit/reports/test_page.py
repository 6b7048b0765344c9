import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from moderator.reports.blocks import (
    BarChart,
    Bars,
    ChartMark,
    ContactSheet,
    DataTable,
    Histogram,
    LineChart,
    Series,
    SheetItem,
)
from moderator.reports.page import Report
from moderator.reports.thumbnails import THUMBNAIL_PIXELS, thumbnail

EVIL = '<script src="https://evil.test/x.js">alert(1)</script>"\' onload=\u202e\udcff'


class Elements(HTMLParser):
    """All elements of a page with their attributes, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def everything(text: str) -> Report:
    report = Report(text, [(text, text)], lead=text, facts=[(text, text)])
    line = Series(text, [0, 1, 2], [0.1, 0.5, 0.4], [0, 0.4, 0.3], [0.2, 0.6, 0.5])
    points = Series(f"{text} 2", [1], [0.3], points=True)
    report.section(
        text,
        DataTable(text, [text, "n"], [[text, 1], [None, 2.5]]),
        LineChart(text, text, text, [line, points], [ChartMark(0.5, text)]),
        Histogram(text, [0, 0.5, 1], [Bars(text, [3, 4]), Bars(text, [0, 0])], [ChartMark(0.5, text)], text),
        BarChart(text, [text, "b"], [Bars(text, [1, 2], [0, 1], [2, 3]), Bars(text, [2, 1])], text),
        BarChart(text, [text], [Bars(text, [1]), Bars(text, [2])], stacked=True),
        ContactSheet(text, [SheetItem(None, text, [text]), SheetItem(picture(), text)], text),
        text=text,
    )
    return report


def picture() -> bytes:
    return thumbnail(Image.new("RGB", (800, 300), "red"))


def test_text_from_outside_stays_text() -> None:
    page = Elements(everything(EVIL).html())
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "form", "input", "base"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert any("<script src=" in text for text in page.texts)
    assert "\udcff" not in "".join(page.texts)


def test_nothing_in_a_page_names_a_place_to_load_from() -> None:
    html = everything("a").html()
    page = Elements(html)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "style"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert "url(" not in html
    assert "@import" not in html
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_each_chart_has_a_title_a_description_and_its_values_in_a_table() -> None:
    html = everything("chart").html()
    charts = re.findall(r"<svg.*?</details>", html, re.DOTALL)
    assert len(charts) == 4
    for chart in charts:
        ids = re.search(r'aria-labelledby="(\S+) (\S+)"', chart)
        assert ids is not None
        assert f'<title id="{ids[1]}">' in chart
        assert f'<desc id="{ids[2]}">' in chart
        assert "<table>" in chart


def test_ids_are_unique() -> None:
    ids = [a["id"] for _, a in Elements(everything("a").html()).elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_columns_of_numbers_are_set_to_the_right() -> None:
    report = Report("t", [])
    table = DataTable(
        "c", ["name", "share", "count", "kind"], [["a", "12.5 % (3–14)", 1, "x"], ["b", None, 2, "3"]]
    )
    report.section("s", table)
    heads = re.findall(r'<th scope="col"( class="number")?>(\w+)', report.html())
    assert [name for number, name in heads if number] == ["share", "count"]


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    everything("ä").write(path)
    assert path.read_text("utf-8") == everything("ä").html()


@pytest.mark.parametrize("size", [(4000, 20), (20, 4000), (30, 40)])
def test_thumbnails_are_small(size: tuple[int, int]) -> None:
    from io import BytesIO

    file = thumbnail(Image.new("RGBA", size, "red"))
    with Image.open(BytesIO(file)) as image:
        assert max(image.size) <= THUMBNAIL_PIXELS
        assert image.format == "WEBP"
