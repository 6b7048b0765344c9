"""`moderator search`: find the images in a file of embeddings that are nearest to a text or an image."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column

from moderator.cli.options import JsonOption, lettering_for, loading, progress_bar, save_picture
from moderator.cli.output import Rows, plain, print_json
from moderator.errors import ImageError, ImageNotFound, LabelsInvalid
from moderator.fetching.urls import is_url

#: A separator of folders, or a suffix of letters and digits.
_FILE_NAME = re.compile(r"[/\\]|\.(?=\w*[A-Za-z])\w{2,5}$", re.ASCII)


def search(
    query: Annotated[
        str, typer.Argument(help="A text; or an image file or http(s) URL, which is recognised.")
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

    A query that looks like a file name (a suffix, a slash) is an error if no such file exists; --text searches for it
    as a text.

    Examples:

      moderator embed photos/ -o photos.parquet

      moderator search "a red panda in a tree" --index photos.parquet --picture hits.png

      moderator search cat.jpg --index photos.parquet --top 3 --json
    """
    from moderator.embeddings.embedder import Embedder
    from moderator.embeddings.embedding_search import search as find
    from moderator.embeddings.embeddings_file import EmbeddingsFile
    from moderator.embeddings.pictures import contact_sheet, placeholder

    if not query.strip():
        raise LabelsInvalid("the query is empty; write a text or name an image")
    is_image = not text and _is_image(query)
    file = EmbeddingsFile(index)
    with loading():
        embedder = Embedder()
    file.facts.check(embedder.encoder, index)
    vector = embedder.embed_all([query]) if is_image else embedder.embed_texts([query])
    with progress_bar(json) as bar:
        task = bar.add_task("building the index", total=len(file), visible=False)
        (hits,) = find(
            file, vector, top, approximate, lambda rows: bar.update(task, advance=rows, visible=True)
        )
    rows = Rows(Column("similarity", justify="right", width=10), Column("image", overflow="fold"))
    for hit in hits:
        if json:
            print_json({"path": hit.path, "similarity": hit.similarity})
        else:
            rows.add(f"{hit.similarity:.3f}", plain(hit.path))
    if picture is not None:
        pictures = []
        for hit in hits:
            try:
                pictures.append(embedder.picture(hit.path))
            except ImageError:  # moved since it was embedded
                pictures.append(placeholder())
        captions = [f"{hit.similarity:.3f} {Path(hit.path).name}" for hit in hits]
        save_picture(contact_sheet(pictures, captions, lettering_for(captions)), picture)


def _is_image(query: str) -> bool:
    """Return whether a query names an image.

    Raises:
        ImageNotFound: it looks like a file name, but there is no such file.
    """
    if is_url(query):
        return True
    try:
        path = Path(query)
        if path.is_file():
            return True
        is_folder = path.is_dir()
    except (OSError, ValueError):  # too long for a name, or a NUL in it
        return False
    if _FILE_NAME.search(query):
        problem = "this is a folder; name one image" if is_folder else "no such file; check the name"
        raise ImageNotFound(f"{query}: {problem}, or say --text if these are words to search for")
    return False
