"""How verdicts look: a table for people, JSON Lines for programs."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from moderator.verdicts import Decision, Verdict

#: Results go to standard output, everything else to standard error.
console = Console()
errors = Console(stderr=True)

COLOURS = {
    Decision.ALLOW: "green",
    Decision.REVIEW: "yellow",
    Decision.BLOCK: "red",
    Decision.ERROR: "magenta",
}


def print_json(record: Mapping[str, Any] | Verdict) -> None:
    """One line of JSON."""
    if isinstance(record, Verdict):
        sys.stdout.write(record.model_dump_json() + "\n")
    else:
        sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def verdict_table(width: int | None = None) -> Table:
    """An empty table for `verdict_row`, as wide as the terminal (at least 76 columns)."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name, size in (("image", 16), ("decision", 8), ("category", 12)):
        table.add_column(name, overflow="ellipsis", no_wrap=True, width=size)
    table.add_column("score", justify="right", width=5)
    # What gives way on a narrow terminal: the other columns and all gaps take 65.
    room = (width or console.width) - 65
    table.add_column("top prompt", overflow="ellipsis", no_wrap=True, width=min(max(room, 12), 40))
    table.add_column("policy", overflow="ellipsis", no_wrap=True, width=13)
    table.add_column("ms", justify="right", width=4)
    return table


def plain(text: str) -> Text:
    """Text from outside (file names, ids, messages): neither markup nor control characters mean anything in it."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def verdict_row(image: str, verdict: Verdict) -> Iterable[str | Text]:
    """The cells of one verdict. `ms` is the time spent on it, without waiting in the queue."""
    decision = Text(verdict.decision, COLOURS[verdict.decision])
    milliseconds = sum(ms for stage, ms in verdict.timings_ms.items() if stage != "queue")
    if verdict.error is not None:
        reason = f"{verdict.error.type}: {verdict.error.message}"
        return (plain(image), decision, "", "", plain(reason), "", f"{milliseconds:.0f}")
    name = verdict.top_category
    assert name is not None
    assert verdict.policy is not None
    category = verdict.categories[name]
    prompt = category.top_prompts[0].prompt if category.top_prompts else ""
    return (
        plain(image),
        decision,
        name,
        f"{category.score:.2f}",
        plain(prompt),
        f"{verdict.policy.name}@{verdict.policy.version}",
        f"{milliseconds:.0f}",
    )
