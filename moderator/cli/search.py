"""`moderator search`: the images of a file of embeddings that are nearest to a text or an image."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from moderator.cli.options import JsonOption, progress_bar, save_picture
from moderator.cli.output import console, plain, print_json
from moderator.errors import ImageError, LabelsInvalid


def search(
    query: Annotated[
        str, typer.Argument(help="A text; or an image file or http(s) URL, which is told by itself.")
    ],
    index: Annotated[Path, typer.Option(help="File of embeddings, as `moderator embed` writes it.")],
    top: Annotated[int, typer.Option(min=1, help="Hits shown.")] = 10,
    approximate: Annotated[
        bool | None,
        typer.Option(
            "--approximate/--exact",
            help="Use an approximate index, kept beside the file. Default: from a million rows on.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="The query is a text, whatever it looks like.")
    ] = False,
    picture: Annotated[Path | None, typer.Option(help="Also draw a contact sheet of the hits.")] = None,
    json: JsonOption = False,
) -> None:
    """Find the images that a text describes best, or that resemble an image.

    Examples:

      moderator embed photos/ -o photos.parquet

      moderator search "a red panda in a tree" --index photos.parquet --picture hits.png

      moderator search cat.jpg --index photos.parquet --top 3 --json
    """
    from moderator.uses.embedder import Embedder
    from moderator.uses.pictures import contact_sheet, placeholder
    from moderator.uses.search import search as find
    from moderator.uses.store import EmbeddingsFile

    if not query.strip():
        raise LabelsInvalid("the query is empty; write a text or name an image")
    file = EmbeddingsFile(index)
    embedder = Embedder()
    file.facts.check(embedder.encoder, index)
    is_image = not text and (query.startswith(("http://", "https://")) or _is_file(query))
    vector = embedder.embed_all([query]) if is_image else embedder.embed_texts([query])
    with progress_bar(json) as bar:
        task = bar.add_task("building the index", total=len(file), visible=False)
        (hits,) = find(
            file, vector, top, approximate, lambda rows: bar.update(task, advance=rows, visible=True)
        )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("similarity", justify="right")
    table.add_column("image", overflow="fold")
    for hit in hits:
        if json:
            print_json({"path": hit.path, "similarity": hit.similarity})
        else:
            table.add_row(f"{hit.similarity:.3f}", plain(hit.path))
    if not json:
        console.print(table)
    if picture is not None:
        pictures = []
        for hit in hits:
            try:
                pictures.append(embedder.picture(hit.path))
            except ImageError:  # moved since it was embedded
                pictures.append(placeholder())
        captions = [f"{hit.similarity:.3f} {Path(hit.path).name}" for hit in hits]
        save_picture(contact_sheet(pictures, captions), picture)


def _is_file(query: str) -> bool:
    try:
        return Path(query).is_file()
    except (OSError, ValueError):  # too long for a name, or a NUL in it
        return False
