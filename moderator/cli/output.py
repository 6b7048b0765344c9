"""How verdicts look: a table for people, JSON Lines for programs."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

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


def verdict_table(title: str | None = None) -> Table:
    """An empty table for `verdict_row`."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("image", overflow="ellipsis", no_wrap=True, max_width=18)
    table.add_column("decision", min_width=8, no_wrap=True)
    table.add_column("category", min_width=12, no_wrap=True)
    table.add_column("score", min_width=5, justify="right", no_wrap=True)
    # What gives way on a narrow terminal.
    table.add_column("top prompt", overflow="ellipsis", no_wrap=True, max_width=32)
    table.add_column("policy", min_width=13, no_wrap=True)
    table.add_column("ms", min_width=4, justify="right", no_wrap=True)
    return table


def verdict_row(image: str, verdict: Verdict) -> Iterable[str]:
    """The cells of one verdict. `ms` is the time spent on it, without waiting in the queue."""
    decision = f"[{COLOURS[verdict.decision]}]{verdict.decision}[/]"
    milliseconds = sum(ms for stage, ms in verdict.timings_ms.items() if stage != "queue")
    if verdict.error is not None:
        reason = f"{verdict.error.type}: {verdict.error.message}"
        return (image, decision, "", "", reason.replace("[", r"\["), "", f"{milliseconds:.0f}")
    name = verdict.top_category
    assert name is not None
    assert verdict.policy is not None
    category = verdict.categories[name]
    prompt = category.top_prompts[0].prompt if category.top_prompts else ""
    return (
        image,
        decision,
        name,
        f"{category.score:.2f}",
        prompt,
        f"{verdict.policy.name}@{verdict.policy.version}",
        f"{milliseconds:.0f}",
    )
