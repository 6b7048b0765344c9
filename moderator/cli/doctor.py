"""`moderator doctor`: report what is wrong with an installation, and how to fix it."""

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from moderator.cli.options import progress_bar
from moderator.cli.output import console, plain, print_json

if TYPE_CHECKING:
    from moderator.operations.doctor.findings import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def doctor(
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 on warnings as well.")] = False,
    model: Annotated[
        bool, typer.Option("--model", help="Load the encoder as well, and compile the policies.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One finding per line, as JSON, for programs.")
    ] = False,
) -> None:
    """Examine this installation: Redis, secrets, policies, and the machine.

    Each finding is ok, a warning or a problem, with the reason and the remedy. Problem: events or verdicts can be lost
    or forged, strangers get access, or the worker does not start. Warning: it works, but one more mistake or fault
    would make it a problem. Ends with 1 if there is a problem. Changes nothing and shows no secrets. Run it where the
    worker runs, as the worker's user, with the worker's settings.

    Examples:

      moderator doctor

      moderator doctor --strict --json
    """
    from moderator.operations.doctor.examine import plan
    from moderator.operations.doctor.findings import failed

    found: list[Finding] = []
    with progress_bar(as_json) as bar:
        parts = plan(model)
        for part in bar.track(parts, len(parts), description="examining"):
            found += part.run()
    for finding in found if as_json else ():
        print_json(asdict(finding))
    if not as_json:
        _print_table(found)
    raise typer.Exit(1 if failed(found, strict) else 0)


def _print_table(found: "list[Finding]") -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("state", "check"):
        table.add_column(name, no_wrap=True)
    table.add_column("what was found, and what to do", overflow="fold")
    for finding in found:
        state = Text(finding.level, _COLOURS[finding.level])
        text = plain(" ".join(finding.message.split()))
        if finding.remedy:
            text.append("\n-> ", "bold").append_text(plain(finding.remedy))
        table.add_row(state, finding.check, text)
    console.print(table)
    counts = Counter(str(finding.level) for finding in found)
    console.print(
        f"{counts['problem']} problems, {counts['warning']} warnings, {counts['ok']} ok", highlight=False
    )
