"""Embed any number of files into one Parquet file, and survive interruptions of any kind.

Beside `F.parquet`, the folder `F.parquet.parts` holds the work done so far:

| file | what it holds |
| --- | --- |
| `run.json` | the model and the name of the run |
| `000000.parquet`, ... | finished rows; each is written under a temporary name, synced and renamed |
| `lock` | held while a process works here |

A part exists either complete or not at all, so after a kill the parts show exactly what is done. At the end they are
joined into a new `F.parquet`, which atomically replaces the old one and carries the name of the run; only then is
the folder removed. Rows that `F.parquet` held before are kept.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from moderator.atomic import remove_leftovers, replacing, write_atomically
from moderator.embeddings.embedder import EmbeddedImage, Embedder
from moderator.embeddings.embeddings_file import EmbeddingsFile, Facts, matrix, open_writer
from moderator.embeddings.parts import PART_ROWS, Parts, clear, locked
from moderator.errors import EmbeddingsUnreadable, ImageNotFound, ModelMismatch
from moderator.fetching.urls import is_url


@dataclass(frozen=True)
class Summary:
    """The outcome of a run."""

    rows: int
    """Rows now in the file."""
    new: int
    """Rows added by this run, including its interrupted attempts."""
    failed: int
    """Images that could not be embedded; the report lists them."""


def report_path(output: Path) -> Path:
    """Return the path of the report beside a file: one JSON object per image that could not be embedded."""
    return output.with_name(f"{output.name}.failed.jsonl")


def numpy_path(output: Path) -> Path:
    """Return the path of the matrix beside a file of embeddings, row for row."""
    return output.with_suffix(".npy")


def embed_files(
    embedder: Embedder,
    images: Iterable[str],
    output: Path,
    stored: str | None = None,
    progress: Callable[[int], None] = lambda images: None,
    part_rows: int = PART_ROWS,
) -> Summary:
    """Embed images into a Parquet file. Images whose path is already in it are skipped.

    Memory grows neither with the number of images nor with that of rows. The call may be interrupted at any time,
    even by a kill, and repeated. Images that fail are skipped, reported in `report_path(output)`, and retried by the
    next call.

    Args:
        embedder: the model.
        images: paths and http(s) URLs; duplicates are embedded once.
        output: the Parquet file.
        stored: `float32` or `float16`; default: that of an existing file, else float32.
        progress: called with the number of images done since the last call.
        part_rows: most rows in one part.

    Raises:
        ModelMismatch: the file was made by another model, or in another precision.
        EmbeddingsUnreadable: the file does not hold embeddings, or a part is broken.
        EmbeddingBusy: another process is writing it.
    """
    parts = output.with_name(f"{output.name}.parts")
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(parts), ExitStack() as stack:
        earlier = EmbeddingsFile(output) if output.exists() else None
        if earlier is not None:
            stack.callback(earlier.close)
        facts = _begin(embedder, earlier, parts, stored)
        if earlier is not None and earlier.facts.run == facts.run:
            # The last run was stopped between its last two steps: finish it, and begin a new one.
            clear(parts)
            facts = _begin(embedder, earlier, parts, stored)
        files = sorted(parts.glob("[0-9]*.parquet"))
        seen = _Seen()
        stack.callback(seen.close)
        for path in ([output] if earlier is not None else []) + files:
            seen.add_file(path)
        before, known = len(earlier) if earlier is not None else 0, len(seen)
        report = report_path(output)
        growing = report.with_name(f".{report.name}")
        failed = 0
        writer = Parts(parts, facts, part_rows, len(files))
        with growing.open("w", encoding="utf-8", buffering=1) as lines:
            try:
                for item in embedder.embed_each(_new(images, seen, progress)):
                    if (problem := _problem(item)) is None:
                        assert item.embedding is not None
                        writer.add(item.image, item.sha256, item.embedding)
                    else:
                        failed += 1
                        lines.write(json.dumps(problem) + "\n")
                    progress(1)
            finally:
                writer.flush()  # also when stopped by Ctrl-C
                growing.replace(report)
        added = known - before + writer.rows
        if added or earlier is None:
            _join(
                ([output] if earlier is not None else []) + sorted(parts.glob("[0-9]*.parquet")),
                output,
                facts,
            )
        clear(parts)
        return Summary(rows=before + added, new=added, failed=failed)


def write_numpy(source: Path, target: Path) -> None:
    """Copy a file's embeddings into a NumPy file, [rows, dimension], row for row.

    Raises:
        EmbeddingsUnreadable: the file does not hold embeddings.
    """
    file = EmbeddingsFile(source)
    header = {"descr": np.dtype(file.facts.stored).str, "fortran_order": False}
    with replacing(target) as new, new.open("wb") as output:
        shape = (len(file), file.facts.dimension)
        np.lib.format.write_array_header_1_0(output, {**header, "shape": shape})
        for batch in file.batches(["embedding"]):
            output.write(np.ascontiguousarray(matrix(batch), dtype=file.facts.stored).tobytes())


def _begin(embedder: Embedder, earlier: EmbeddingsFile | None, parts: Path, stored: str | None) -> Facts:
    """Return the facts of this run: those of an interrupted run if there is one.

    Raises:
        ModelMismatch, EmbeddingsUnreadable: see `embed_files`.
    """
    path = parts / "run.json"
    for temporary in parts.glob(".*"):
        temporary.unlink()
    if path.exists():
        try:
            facts = Facts.parse(path.read_bytes())
        except (ValueError, KeyError, TypeError) as error:
            raise EmbeddingsUnreadable(
                f"{path} is broken ({error}); remove {parts} to start again"
            ) from error
        _check(facts, embedder, parts, stored)
    else:
        kept = stored or (earlier.facts.stored if earlier is not None else "float32")
        facts = Facts.of(embedder.encoder, kept, uuid4().hex)
        if earlier is not None:
            _check(earlier.facts, embedder, earlier.path, stored)
        write_atomically(path, json.dumps(facts.record()).encode())
    return facts


def _check(facts: Facts, embedder: Embedder, what: Path, stored: str | None) -> None:
    facts.check(embedder.encoder, what)
    if stored not in (None, facts.stored):
        raise ModelMismatch(f"{what} holds {facts.stored}, not {stored}; embed into a new file")


class _Seen:
    """The paths that are done, in a temporary SQLite database that spills to disk as it grows."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("CREATE TABLE seen (path BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM seen").fetchone()[0])

    def add(self, path: str) -> bool:
        """Record a path; return whether it is new."""
        values = (os.fsencode(path),)
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", values).rowcount == 1

    def add_file(self, path: Path) -> None:
        """Record the paths of all rows of a file."""
        file = EmbeddingsFile(path)
        for batch in file.batches(["path"]):
            for name in batch.column("path").to_pylist():
                self.add(name)
        file.close()

    def close(self) -> None:
        """Discard the database."""
        self._database.close()


def _new(images: Iterable[str], seen: _Seen, progress: Callable[[int], None]) -> Iterator[str]:
    """Yield the images that are not done yet, local ones by absolute path."""
    for image in images:
        name = image if is_url(image) else os.path.abspath(image)
        if seen.add(name):
            yield name
        else:
            progress(1)


def _problem(item: EmbeddedImage) -> dict[str, str] | None:
    """Return the report's entry for an image; None if it has none."""
    try:
        item.image.encode()
    except UnicodeEncodeError:
        name, error = ascii(item.image)[1:-1], ImageNotFound("the name is not UTF-8; rename the file")
        return {"path": name, "type": type(error).__name__, "message": str(error)}
    if item.error is None:
        return None
    return {"path": item.image, "type": type(item.error).__name__, "message": str(item.error)}


def _join(files: list[Path], output: Path, facts: Facts) -> None:
    """Join files into one, block by block."""
    remove_leftovers(output.parent, output.name)  # as large as the file itself
    with replacing(output) as new, open_writer(new, facts) as writer:
        for path in files:
            file = EmbeddingsFile(path)
            for batch in file.batches():
                writer.write_batch(batch)
            file.close()
