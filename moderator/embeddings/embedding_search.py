"""Find the images nearest to a text or an image, among the embeddings of a file.

Exact search multiplies block by block, in memory that does not grow with the file. From a million rows on, an
approximate index (HNSW, by usearch) answers in milliseconds; it is built once, in minutes, and kept beside the file.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderator.atomic import replacing, write_atomically
from moderator.embeddings.embeddings_file import EmbeddingsFile, matrix
from moderator.encoders.encoder import Embeddings
from moderator.errors import ExtraMissing

log = logging.getLogger(__name__)

#: Number of rows from which search is approximate by default.
EXACT_ROWS = 1_000_000
#: Candidates that the approximate index keeps while it searches: a larger number finds more of the true neighbours.
_SEARCH_EXPANSION = 128


@dataclass(frozen=True)
class Hit:
    """An image of the file: `similarity` is its cosine with the query."""

    path: str
    similarity: float


def search(
    file: EmbeddingsFile,
    queries: Embeddings,
    top: int = 10,
    approximate: bool | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> list[list[Hit]]:
    """Return the images nearest to each query, nearest first; ties are in the order of the file.

    Args:
        file: the embeddings. The caller checks that the encoder of the queries made it.
        queries: float32 [q, dimension], rows of length 1.
        top: hits per query.
        approximate: default: from a million rows on, if usearch is installed.
        progress: called with the number of rows added to the index, if one has to be built.

    Raises:
        ExtraMissing: approximate search was asked for and usearch is not installed.
        EmbeddingsUnreadable: the file is broken.
    """
    if approximate is None and len(file) >= EXACT_ROWS:
        try:
            return _search_approximately(file, queries, top, progress)
        except ExtraMissing as error:
            log.warning("searching exactly: %s", error)
    if approximate:
        return _search_approximately(file, queries, top, progress)
    return _search_exactly(file, queries, top)


def _search_exactly(file: EmbeddingsFile, queries: Embeddings, top: int) -> list[list[Hit]]:
    best = np.full((len(queries), 0), 0, dtype=np.float32)
    rows = np.full((len(queries), 0), 0, dtype=np.int64)
    at = 0
    for batch in file.batches(["embedding"]):
        cosines = queries @ matrix(batch).T
        numbers = np.broadcast_to(np.arange(at, at + len(batch)), cosines.shape)
        best = np.concatenate([best, cosines], axis=1)
        rows = np.concatenate([rows, numbers], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :top]
        best, rows = np.take_along_axis(best, order, axis=1), np.take_along_axis(rows, order, axis=1)
        at += len(batch)
    return _hits(file, list(rows), list(best))


def _search_approximately(
    file: EmbeddingsFile, queries: Embeddings, top: int, progress: Callable[[int], None]
) -> list[list[Hit]]:
    index = _load_index(file, progress)
    index.expansion_search = max(_SEARCH_EXPANSION, 4 * top)
    rows, cosines = [], []
    for query in queries:
        matches = index.search(query, min(top, len(file)))
        rows.append(np.asarray(matches.keys, dtype=np.int64))
        cosines.append(1 - np.asarray(matches.distances, dtype=np.float32))
    return _hits(file, rows, cosines)


def _hits(
    file: EmbeddingsFile, rows: Sequence[NDArray[np.int64]], cosines: Sequence[Embeddings]
) -> list[list[Hit]]:
    wanted = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *rows])).tolist()
    paths = dict(zip(wanted, file.paths(wanted), strict=True))
    return [
        [Hit(paths[int(row)], float(cosine)) for row, cosine in zip(some, values, strict=True)]
        for some, values in zip(rows, cosines, strict=True)
    ]


def index_path(file: Path) -> Path:
    """Return the path of the approximate index beside a file."""
    return file.with_name(f"{file.name}.usearch")


def _load_index(file: EmbeddingsFile, progress: Callable[[int], None]) -> Any:
    """Load the index of the file; build it if it is missing or the file has changed since."""
    try:
        from usearch.index import Index
    except ImportError as error:
        raise ExtraMissing("approximate search needs usearch: pip install 'moderator[search]'") from error
    path = index_path(file.path)
    note = path.with_name(f"{path.name}.json")
    made_from = {"run": file.facts.run, "rows": len(file)}
    index = Index(ndim=file.facts.dimension, metric="cos", dtype="f16")
    try:
        if json.loads(note.read_text()) == made_from:
            index.view(str(path))
            if len(index) == len(file):
                return index
    except (OSError, ValueError, RuntimeError):
        pass  # missing or broken
    index = Index(ndim=file.facts.dimension, metric="cos", dtype="f16")
    at = 0
    for batch in file.batches(["embedding"]):
        index.add(np.arange(at, at + len(batch)), matrix(batch))
        at += len(batch)
        progress(len(batch))
    note.unlink(missing_ok=True)
    with replacing(path) as new:
        index.save(str(new))
    write_atomically(note, json.dumps(made_from).encode())
    return index
