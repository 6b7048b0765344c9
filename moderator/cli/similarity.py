"""`moderator similarity`: a matrix of images by texts."""

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from moderator.cli.options import embed_images, save_picture, text_name
from moderator.cli.output import console, plain, print_json
from moderator.errors import ImageNotFound, LabelsInvalid
from moderator.listing import expand_images

FORMATS = ("table", "json", "csv")
VALUES = ("cosine", "logits", "probabilities")


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
    from moderator.uses.embedder import Embedder
    from moderator.uses.pictures import heat_map
    from moderator.uses.similarity import compare

    format = "json" if json else format
    if format not in FORMATS:
        raise typer.BadParameter(f"--format {format!r} is none of {', '.join(FORMATS)}")
    if value not in VALUES:
        raise typer.BadParameter(f"--value {value!r} is none of {', '.join(VALUES)}")
    if any(not text.strip() for text in texts):
        raise LabelsInvalid("a text is empty; write it or leave it out")
    embedder = Embedder()
    found = embed_images(embedder, expand_images(images), format != "table")
    items = [item for item in found if item.embedding is not None]
    if not items:
        raise ImageNotFound("none of the images could be embedded")
    import numpy as np

    rows = np.stack([item.embedding for item in items if item.embedding is not None])
    matrix = compare(rows, embedder.embed_texts(texts), embedder.encoder.scale, embedder.encoder.bias)
    shown = getattr(matrix, value)
    if format == "json":
        for number, item in enumerate(items):
            numbers = {name: getattr(matrix, name)[number].tolist() for name in VALUES}
            print_json({"image": text_name(item.image), "texts": texts, **numbers})
    elif format == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(["image", "text", *VALUES])
        for number, item in enumerate(items):
            for column, text in enumerate(texts):
                numbers_of_pair = (float(getattr(matrix, name)[number, column]) for name in VALUES)
                writer.writerow([text_name(item.image), text, *numbers_of_pair])
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("image", overflow="ellipsis", no_wrap=True)
        for text in texts:
            table.add_column(plain(text), justify="right")
        for item, line in zip(items, shown, strict=True):
            table.add_row(plain(Path(item.image).name), *(f"{number:.3f}" for number in line))
        console.print(table)
    if picture is not None:
        pictures = [embedder.picture(item.image) for item in items]
        save_picture(heat_map(pictures, [Path(item.image).name for item in items], texts, shown), picture)
