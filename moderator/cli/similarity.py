"""`moderator similarity`: a matrix of images by texts."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column

from moderator.cli.options import embed_images, lettering_for, loading, save_picture, text_name
from moderator.cli.output import Rows, console, plain, print_json, widest
from moderator.errors import ImageNotFound, LabelsInvalid
from moderator.image_paths import expand_images

if TYPE_CHECKING:
    from moderator.embeddings.similarity_matrix import Similarity
    from moderator.encoders.encoder import Embeddings

FORMATS = ("table", "json", "csv")
VALUES = ("cosine", "logits", "probabilities")
#: Terminal columns of the longest number, `-100.000`.
NUMBER_WIDTH = 8


def similarity(
    images: Annotated[
        list[str],
        typer.Option("--images", "-i", help="Image file, folder or URL; may be given several times."),
    ],
    texts: Annotated[list[str], typer.Option("--texts", "-t", help="Text; may be given several times.")],
    format: Annotated[str, typer.Option(help="`table`, `json` or `csv`.")] = "table",
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    value: Annotated[
        str, typer.Option(help="What table and picture show: `cosine`, `logits` or `probabilities`.")
    ] = "cosine",
    picture: Annotated[Path | None, typer.Option(help="Also draw a heat map with thumbnails.")] = None,
) -> None:
    """How much each image resembles each text: cosine, logit, and softmax over the texts.

    JSON has one object per image, CSV one line per pair; both hold all three numbers.

    Examples:

      moderator similarity -i cat.jpg -i dog.jpg -t "a cat" -t "a dog"

      moderator similarity --images photos/ --texts "a beach" --texts "a street" --format csv

      moderator similarity -i photos/ -t "a cat" -t "a dog" --value probabilities --picture heat.png
    """
    import numpy as np

    from moderator.embeddings.embedder import Embedder
    from moderator.embeddings.pictures import heat_map
    from moderator.embeddings.similarity_matrix import compare

    format = "json" if json else format
    if format not in FORMATS:
        raise typer.BadParameter(f"--format {format!r} is none of {', '.join(FORMATS)}")
    if value not in VALUES:
        raise typer.BadParameter(f"--value {value!r} is none of {', '.join(VALUES)}")
    if any(not text.strip() for text in texts):
        raise LabelsInvalid("a text is empty; write it or leave it out")
    files = expand_images(images)
    with loading():
        embedder = Embedder()
    vectors, encoder = embedder.embed_texts(texts), embedder.encoder
    show = _printer(format, value, files, texts)
    kept: list[tuple[str, Embeddings]] = []
    for item in embed_images(embedder, files, format != "table"):
        if item.embedding is not None:
            row = compare(item.embedding[None], vectors, encoder.scale, encoder.bias)
            show(item.image, row)
            kept.append((item.image, getattr(row, value)))
    if not kept:
        raise ImageNotFound("none of the images could be embedded")
    if picture is not None:
        names = [Path(image).name for image, _ in kept]
        lettering = lettering_for([*names, *texts])
        shown = np.concatenate([numbers for _, numbers in kept])
        pictures = [embedder.picture(image) for image, _ in kept]
        save_picture(heat_map(pictures, names, texts, shown, lettering), picture)


def _printer(
    format: str, value: str, images: list[str], texts: list[str]
) -> "Callable[[str, Similarity], None]":
    """Return the function that prints one image's numbers in a format."""
    if format == "json":

        def as_json(image: str, row: "Similarity") -> None:
            numbers = {name: getattr(row, name)[0].tolist() for name in VALUES}
            print_json({"image": text_name(image), "texts": texts, **numbers})

        return as_json
    if format == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(["image", "text", *VALUES])

        def as_csv(image: str, row: "Similarity") -> None:
            for column, text in enumerate(texts):
                numbers = (float(getattr(row, name)[0, column]) for name in VALUES)
                writer.writerow([text_name(image), text, *numbers])
            sys.stdout.flush()

        return as_csv
    rows = Rows(*_columns(images, texts))

    def as_row(image: str, row: "Similarity") -> None:
        rows.add(plain(Path(image).name), *(f"{number:.3f}" for number in getattr(row, value)[0]))

    return as_row


def _columns(images: list[str], texts: list[str]) -> list[Column]:
    """Return columns that fit the terminal: long texts are wrapped in the heading, then names are cut."""
    room = console.width - 1
    image = min(widest("image", *(Path(name).name for name in images)), max(room // 3, 12))
    share = (room - image) // len(texts) - 1
    columns = [Column("image", overflow="ellipsis", no_wrap=True, width=image)]
    for text in texts:
        width = max(min(widest(text), share), NUMBER_WIDTH)
        columns.append(Column(plain(text), justify="right", overflow="fold", width=width))
    return columns
