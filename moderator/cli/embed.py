"""`moderator embed`: embed any number of files into one Parquet file."""

from pathlib import Path
from typing import Annotated

import typer

from moderator.cli.options import JsonOption, loading, progress_bar
from moderator.cli.output import console, errors, print_json
from moderator.image_paths import list_images, no_images


def embed(
    source: Annotated[Path, typer.Argument(help="Folder, or text file with one path or http(s) URL a line.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file; what is in it stays.")],
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size.")] = False,
    numpy: Annotated[
        bool, typer.Option("--numpy", help="Also write the matrix as .npy, row for row.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Embed any number of images into a Parquet file, for search and analysis.

    May be interrupted at any time, even by a kill or a power cut: the same command resumes where it stopped, and once
    everything is done it adds new images. Files that cannot be embedded are skipped and listed in
    OUTPUT.failed.jsonl. A file never mixes the embeddings of two models.

    Columns: path, sha256, embedding. The schema's metadata names the model.

    Examples:

      moderator embed photos/ -o photos.parquet

      moderator embed list.txt -o photos.parquet --half --numpy
    """
    from moderator.embeddings.bulk import embed_files, numpy_path, report_path, write_numpy
    from moderator.embeddings.embedder import Embedder

    count = sum(1 for _ in list_images(source))
    if not count:
        raise no_images(source)
    with loading():
        embedder = Embedder()
    try:
        with progress_bar(json) as bar:
            task = bar.add_task("embedding", total=count)
            summary = embed_files(
                embedder,
                list_images(source),
                output,
                "float16" if half else None,
                lambda images: bar.advance(task, images),
            )
    except KeyboardInterrupt:
        errors.print("stopped; what is done is kept, and the same command goes on from there")
        raise
    if numpy:
        write_numpy(output, numpy_path(output))
    if json:
        print_json({"output": str(output), "images": count, **vars(summary)})
        return
    console.print(f"{output}: {summary.rows} rows, {summary.new} of them new", highlight=False, markup=False)
    if summary.failed:
        line = f"{summary.failed} images could not be embedded: {report_path(output)}"
        console.print(line, style="yellow", highlight=False, markup=False)
