"""`moderator check`: judge images here and now, without a queue."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from moderator.cli.output import console, errors, print_json, verdict_row, verdict_table
from moderator.listing import expand_images
from moderator.verdicts import Decision


def check(
    images: Annotated[list[str], typer.Argument(help="Image files, folders of them, or http(s) URLs.")],
    policy: Annotated[
        str | None, typer.Option(help="NAME or NAME@VERSION. Default: MODERATOR_DEFAULT_POLICY.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One verdict per line, as JSON.")] = False,
    fail_on: Annotated[
        Decision | None, typer.Option(help="End with 1 if an image gets this decision or a worse one.")
    ] = None,
) -> None:
    """Judge images by a policy, here and now, without a queue.

    Ends with 0 when every image was answered; an answer may be `error`.

    Examples:

      moderator check cat.jpg

      moderator check uploads/ --policy family-safe --json

      moderator check upload.png --fail-on block && publish upload.png
    """
    from moderator import Moderator  # the model libraries take seconds to load: not for --help

    files = expand_images(images)
    verdicts = Moderator().check_each(files, policy)
    table = verdict_table()
    worst = Decision.ALLOW
    progress = track(verdicts, "checking", len(files), console=errors, transient=True, disable=json)
    for name, verdict in zip(files, progress, strict=True):
        worst = max(worst, verdict.decision, key=SEVERITY.index)
        if json:
            print_json(verdict)
        else:
            table.add_row(*verdict_row(Path(name).name, verdict))
    if not json:
        console.print(table)
    if fail_on is not None and SEVERITY.index(worst) >= SEVERITY.index(fail_on):
        raise typer.Exit(1)


#: Mildest first. An image without a judgement counts as the worst.
SEVERITY = [Decision.ALLOW, Decision.REVIEW, Decision.BLOCK, Decision.ERROR]
