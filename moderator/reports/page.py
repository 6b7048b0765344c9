"""A report: one HTML file that makes no request, runs no script, and reads well in light, in the dark and on paper."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from moderator.atomic import write_atomically
from moderator.errors import ExtraMissing
from moderator.printable import printable
from moderator.reports.blocks import BarChart, Block, Cell, ContactSheet, DataTable, Histogram, LineChart
from moderator.reports.charts import data_of, description_of, draw
from moderator.reports.scales import number_text

try:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
except ImportError as error:  # pragma: no cover
    raise ExtraMissing("reports need jinja2: pip install 'moderator[tuning]'") from error

_TEMPLATES = Path(__file__).parent / "templates"
_NUMBER = re.compile(r"[-–+−<>≤≥]?\s?\d[\d,.\s%–\-−]*(of \d+|%)?( \(.*\))?")


@dataclass(frozen=True)
class _Section:
    heading: str
    text: str
    blocks: tuple[Block, ...]


class Report:
    """A report that grows by sections.

    Args:
        title: of the page.
        summary: the figures that matter most, each as a label and its value. What a value has in brackets at its end
            is set small.
        lead: what the report says, in a sentence or two.
        facts: what it was made from, each as a label and its value; set small, at the end.
    """

    def __init__(
        self,
        title: str,
        summary: Sequence[tuple[str, str]],
        lead: str = "",
        facts: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._title = title
        self._summary = tuple(summary)
        self._lead = lead
        self._facts = tuple(facts)
        self._sections: list[_Section] = []

    def section(self, heading: str, *blocks: Block, text: str = "") -> None:
        """Add a section: a heading, a text, then tables, charts and pictures. An empty line ends a paragraph."""
        self._sections.append(_Section(heading, text, blocks))

    def html(self) -> str:
        """Return the page."""
        environment = _environment()
        style = (_TEMPLATES / "style.css").read_text("utf-8")
        return environment.get_template("page.html").render(
            title=self._title,
            lead=self._lead,
            summary=self._summary,
            facts=self._facts,
            sections=self._sections,
            style=style,
            # The only style that the page may have, and no source at all for anything else.
            style_hash=base64.b64encode(sha256(style.encode()).digest()).decode(),
        )

    def write(self, path: Path) -> None:
        """Write the page into a file, in one step.

        Raises:
            OSError: the file cannot be written.
        """
        write_atomically(path, self.html().encode())


@cache
def _environment() -> Environment:
    def clean(value: Any) -> Any:
        """Replace what no reader can see; names of files may hold anything."""
        return printable(value, "\N{REPLACEMENT CHARACTER}") if type(value) is str else value

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "trusted": Markup,  # the style sheet alone
        "kind": _kind,
        "cell": _cell_text,
        "data": data_of,
        "description": description_of,
        "drawing": draw,
        "figure": _figure_parts,
        "image": _data_url,
        "numeric": _numeric_columns,
        "paragraphs": lambda text: [part for part in text.split("\n\n") if part.strip()],
    }
    return environment


def _kind(block: Block) -> str:
    match block:
        case DataTable():
            return "table"
        case ContactSheet():
            return "sheet"
        case LineChart() | Histogram() | BarChart():
            return "chart"


def _cell_text(cell: Cell) -> str:
    if cell is None:
        return "–"
    return cell if isinstance(cell, str) else number_text(cell)


def _figure_parts(value: str) -> tuple[str, str]:
    """Return a figure without and with what stands in brackets behind it."""
    figure, _, rest = value.partition(" (")
    return (figure, rest[:-1]) if rest.endswith(")") else (value, "")


def _numeric_columns(table: DataTable) -> list[bool]:
    """Return whether each column holds numbers; the first one names the rows."""
    return [
        n > 0
        and any(cell is not None for cell in column)
        and all(
            not isinstance(cell, str) or cell in ("", "–", "-") or _NUMBER.fullmatch(cell) for cell in column
        )
        for n, column in ((n, [row[n] for row in table.rows]) for n in range(len(table.columns)))
    ]


def _data_url(file: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(file).decode()}"
