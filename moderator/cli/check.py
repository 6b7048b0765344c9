"""`moderator check`: judge images here and now, without a queue."""

from pathlib import Path
from typing import Annotated

import typer

from moderator.cli.options import loading, progress_bar
from moderator.cli.output import VerdictRows, print_json
from moderator.image_paths import expand_images
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

    Verdicts are printed as they become available, in the order of the arguments.

    Exit codes: 0 if every image got a verdict (which may be `error`), 1 because of --fail-on, 2 if there is nothing to
    judge, such as an empty folder.

    Examples:

      moderator check cat.jpg

      moderator check uploads/ --policy family-safe --json

      moderator check upload.png --fail-on block && publish upload.png
    """
    from moderator import Moderator  # the model libraries take seconds to load: not for --help

    files = expand_images(images)
    with loading():
        verdicts = Moderator().check_each(files, policy)
    rows = VerdictRows()
    worst = Decision.ALLOW
    with progress_bar(json) as bar:
        judged = bar.track(verdicts, len(files), description="checking")
        for name, verdict in zip(files, judged, strict=True):
            worst = max(worst, verdict.decision, key=SEVERITY.index)
            if json:
                print_json(verdict)
            else:
                rows.add_verdict(Path(name).name, verdict)
    if fail_on is not None and SEVERITY.index(worst) >= SEVERITY.index(fail_on):
        raise typer.Exit(1)


#: Mildest first. An image without a judgement counts as the worst.
SEVERITY = [Decision.ALLOW, Decision.REVIEW, Decision.BLOCK, Decision.ERROR]
