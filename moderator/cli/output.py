"""Print results as soon as they are available: rows of a table for people, JSON Lines for programs."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from moderator.printable import printable
from moderator.verdicts import Decision, Verdict


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the entry point: rich would exit with 1, as after a failure."""
        raise BrokenPipeError


#: Results go to standard output, everything else to standard error.
console = _Console()
errors = _Console(stderr=True)

COLOURS = {
    Decision.ALLOW: "green",
    Decision.REVIEW: "yellow",
    Decision.BLOCK: "red",
    Decision.ERROR: "magenta",
}


def print_json(record: Mapping[str, Any] | Verdict) -> None:
    """Print one line of JSON."""
    line = record.model_dump_json() if isinstance(record, Verdict) else json.dumps(record)
    if not line.isascii() and not (sys.stdout.encoding or "utf-8").lower().startswith("utf"):
        line = json.dumps(json.loads(line))  # the terminal's encoding lacks characters that JSON can escape
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def plain(text: str) -> Text:
    """Return text from outside (file names, ids, messages) with markup and control characters made harmless."""
    return Text(printable(text, "\N{REPLACEMENT CHARACTER}"))


class Rows:
    """A table that is printed row by row: printed rows stay when the command is interrupted.

    Args:
        columns: with their widths, which cannot depend on later rows.
        to: where to print; default: standard output.
    """

    def __init__(self, *columns: Column, to: Console | None = None) -> None:
        self._columns = columns
        self._console = to
        self._headed = False

    def add(self, *cells: str | Text) -> None:
        """Print a row, below the heading if it is the first."""
        table = self._table(self._columns, heading=not self._headed)
        self._headed = True
        table.add_row(*cells)
        self._print(table)

    def add_wide(self, *cells: str | Text) -> None:
        """Print a row whose last cell takes the rest of the line and wraps."""
        if not self._headed:
            self._headed = True
            self._print(self._table(self._columns, heading=True))
        narrow = self._columns[: len(cells) - 1]
        table = self._table((*narrow, Column(overflow="fold")), heading=False)
        table.add_row(*cells)
        self._print(table)

    def _table(self, columns: tuple[Column, ...], heading: bool) -> Table:
        copies = (column.copy() for column in columns)
        return Table(*copies, box=None, padding=(0, 1, 0, 0), header_style="bold", show_header=heading)

    def _print(self, table: Table) -> None:
        (self._console or terminal()).print(table)


def terminal() -> Console:
    """Return the console that rows are printed to.

    If both streams are the same terminal, this is the one that draws the progress bar, and keeps it below the rows.
    """
    if console.is_terminal and errors.is_terminal:
        try:
            if os.path.samestat(os.fstat(sys.stdout.fileno()), os.fstat(sys.stderr.fileno())):
                return errors
        except (OSError, ValueError):  # no files
            pass
    return console


class VerdictRows(Rows):
    """The table of verdicts, as wide as the terminal.

    Names are cut to one line. Error messages are shown in full, because they end with the remedy.
    """

    def __init__(self, to: Console | None = None) -> None:
        width = (to or console).width
        image = min(16, max(width - 30, 6))
        columns = [_cut("image", image), _cut("decision", 8), _cut("category", 12), _right("score", 5)]
        if width >= 77:
            # The top prompt gets the rest of the terminal: the other columns and all gaps take 65.
            columns += [_cut("top prompt", min(width - 65, 40)), _cut("policy", 13), _right("ms", 4)]
        elif width >= 58:
            columns += [_cut("top prompt", width - 46)]
        super().__init__(*columns, to=to)

    def add_verdict(self, image: str, verdict: Verdict) -> None:
        """Print the row of a verdict. `ms` is the time spent on it, without waiting in the queue."""
        decision = Text(verdict.decision, COLOURS[verdict.decision])
        if verdict.error is not None:
            self.add_wide(plain(image), decision, plain(f"{verdict.error.type}: {verdict.error.message}"))
            return
        name = verdict.top_category
        assert name is not None
        assert verdict.policy is not None
        category = verdict.categories[name]
        cells = (
            plain(image),
            decision,
            plain(name),
            f"{category.score:.2f}",
            plain(category.top_prompts[0].prompt if category.top_prompts else ""),
            plain(f"{verdict.policy.name}@{verdict.policy.version}"),
            f"{sum(ms for stage, ms in verdict.timings_ms.items() if stage != 'queue'):.0f}",
        )
        self.add(*cells[: len(self._columns)])


def widest(*texts: str) -> int:
    """Return the number of terminal columns that the longest text takes."""
    return max(plain(text).cell_len for text in texts)


def _cut(name: str, width: int) -> Column:
    return Column(name, overflow="ellipsis", no_wrap=True, width=width)


def _right(name: str, width: int) -> Column:
    return Column(name, justify="right", width=width)
