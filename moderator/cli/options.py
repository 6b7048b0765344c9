"""What several commands take and show in the same way."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from moderator.cli.output import errors, plain

if TYPE_CHECKING:
    from moderator.uses.embedder import Embedded, Embedder

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per result, for programs.")]
ImagesArgument = Annotated[list[str], typer.Argument(help="Image files, folders of them, or http(s) URLs.")]


def progress_bar(hidden: bool = False) -> Progress:
    """A bar on standard error, gone when it is done; shown on terminals alone."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=hidden or not errors.is_terminal,
    )


def embed_images(embedder: "Embedder", images: list[str], hidden: bool) -> "list[Embedded]":
    """Embed images behind a progress bar. What cannot be embedded is told on standard error."""
    with progress_bar(hidden) as bar:
        found = list(bar.track(embedder.embed_each(images), len(images), description="embedding"))
    for item in found:
        if item.error is not None:
            line = plain(f"{item.image}: {type(item.error).__name__}: {item.error}")
            errors.print(line, style="yellow", highlight=False, soft_wrap=True)
    return found


def save_picture(picture: object, path: Path) -> None:
    """Write a picture in the format that its name asks for; wrong usage ends with 2."""
    from PIL import Image

    assert isinstance(picture, Image.Image)
    try:
        picture.save(path)
    except ValueError as error:
        raise typer.BadParameter(f"{path}: no picture format of that name; say .png") from error


def text_name(image: str) -> str:
    """The name as JSON can carry it: file names need not be UTF-8."""
    return image.encode("utf-8", "replace").decode()
