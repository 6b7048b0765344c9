"""Options and outputs that several commands share."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from moderator.cli.output import console, errors, plain, terminal

if TYPE_CHECKING:
    from moderator.embeddings.embedder import EmbeddedImage, Embedder
    from moderator.embeddings.lettering import Lettering
    from moderator.settings import Settings

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per result, for programs.")]
PoliciesOption = Annotated[
    Path | None,
    typer.Option("--policies", help="Folder of policies. Default: the setting MODERATOR_POLICIES."),
]
ImagesArgument = Annotated[list[str], typer.Argument(help="Image files, folders of them, or http(s) URLs.")]


def policies_folder(option: Path | None) -> Path:
    """Return the folder of policies that `--policies` names, else the setting's."""
    from moderator.settings import load_settings

    return option if option is not None else load_settings().policies


def policy_settings(option: Path | None) -> "Settings":
    """Return the settings, with the folder of policies that `--policies` names."""
    from moderator.settings import load_settings

    settings = load_settings()
    return settings if option is None else settings.model_copy(update={"policies": option})


def policy_reference(text: str) -> tuple[str, int | None]:
    """Read `NAME` or `NAME@VERSION`; anything else is a usage error and ends with 2."""
    from moderator.errors import PolicyNotFound
    from moderator.policies.references import parse_reference

    try:
        return parse_reference(text)
    except PolicyNotFound as error:
        raise typer.BadParameter(str(error)) from error


def progress_bar(hidden: bool = False) -> Progress:
    """Return a progress bar for standard error, removed when done; shown on terminals only.

    Hidden if rows are printed through another console on a terminal, where the bar would stand between them.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=hidden or not errors.is_terminal or (console.is_terminal and terminal() is not errors),
        redirect_stdout=False,  # output for programs must reach standard output
    )


@contextmanager
def counting(description: str, hidden: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar, and yield what is called with the number done and the number of all."""
    with progress_bar(hidden) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def loading() -> AbstractContextManager[object]:
    """Show, on terminals, that the model is being loaded (seconds) or fetched (longer)."""
    return errors.status("loading the model")


def embed_images(embedder: "Embedder", images: list[str], hidden: bool) -> "Iterator[EmbeddedImage]":
    """Embed images with a progress bar, in order. Images that cannot be embedded are reported on standard error."""
    with progress_bar(hidden) as bar:
        for item in bar.track(embedder.embed_each(images), len(images), description="embedding"):
            if item.error is not None:
                line = plain(f"{item.image}: {type(item.error).__name__}: {item.error}")
                errors.print(line, style="yellow", highlight=False, soft_wrap=True)
            yield item


def lettering_for(texts: list[str]) -> "Lettering":
    """Return the fonts for texts. Characters that no font on this machine has are reported on standard error."""
    from moderator.embeddings.lettering import Lettering

    lettering = Lettering(texts)
    if lettering.missing:
        shown = lettering.missing[:20] + ("..." if len(lettering.missing) > 20 else "")
        line = (
            f"no font on this machine has {shown}: the picture shows ? instead. Install one: apt install "
            "fonts-noto-cjk (Chinese, Japanese, Korean) or fonts-noto-core (most other scripts)"
        )
        errors.print(plain(line), style="yellow", soft_wrap=True)
    return lettering


def save_picture(picture: object, path: Path) -> None:
    """Write a picture in the format of its suffix; a usage error ends with 2."""
    from PIL import Image

    assert isinstance(picture, Image.Image)
    try:
        picture.save(path)
    except ValueError as error:
        raise typer.BadParameter(f"{path}: no picture format of that name; say .png") from error


def text_name(image: str) -> str:
    """Return the name in a form that JSON can carry: file names need not be UTF-8."""
    return image.encode("utf-8", "replace").decode()


def read_moment(text: str | None) -> datetime | None:
    """Return the moment that an option names: a date or time (UTC unless it says otherwise), or days or hours ago."""
    if text is None:
        return None
    if ago := re.fullmatch(r"(\d{1,5})([dh])", text):
        unit = "days" if ago[2] == "d" else "hours"
        return datetime.now(UTC) - timedelta(**{unit: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a date, as 2026-01-31, nor 30d or 12h") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
