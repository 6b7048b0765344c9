"""A Parquet file of embeddings: one row per image; the schema's metadata names the model that made them.

Columns: `path` (string), `sha256` (string, hex, of the file) and `embedding` (a list of fixed size, float32 or
float16, of length 1). It is read in blocks, so memory does not grow with its size.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moderator.encoders.encoder import Embeddings, Encoder, Identity
from moderator.errors import EmbeddingsUnreadable, ExtraMissing, ModelMismatch

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:  # pragma: no cover
    raise ExtraMissing("Parquet needs pyarrow: pip install 'moderator[embed]'") from error

#: Key of the schema metadata.
_KEY = b"moderator"
#: Rows read at a time.
ROWS_PER_BLOCK = 16_384


@dataclass(frozen=True)
class Facts:
    """What made a file's embeddings. Files of equal `identity` are comparable."""

    identity: Identity
    dimension: int
    scale: float
    bias: float
    dtype: str
    """Precision of the model, such as bfloat16."""
    stored: str
    """Precision of the file: float32 or float16."""
    run: str = ""
    """Name of the run that wrote the file."""

    @classmethod
    def of(cls, encoder: Encoder, stored: str, run: str) -> "Facts":
        """Return the facts of an encoder."""
        return cls(
            encoder.identity, encoder.dimension, encoder.scale, encoder.bias, encoder.dtype, stored, run
        )

    def check(self, encoder: Encoder, what: object) -> None:
        """Refuse another model's embeddings.

        Raises:
            ModelMismatch: another model made them; the message names both.
        """
        if self.identity != encoder.identity:
            ours, theirs = encoder.identity, self.identity
            raise ModelMismatch(
                f"{what} was made by {theirs.id} (revision {theirs.revision[:12]}, {theirs.preprocessing}), and the "
                f"model is now {ours.id} (revision {ours.revision[:12]}, {ours.preprocessing}): set "
                "MODERATOR_ENCODER to the former, or embed into a new file"
            )

    def schema(self) -> pa.Schema:
        """Return the columns, with these facts as metadata."""
        value = pa.float16() if self.stored == "float16" else pa.float32()
        columns = [
            pa.field("path", pa.string(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(value, self.dimension), nullable=False),
        ]
        return pa.schema(columns, {_KEY: json.dumps(self.record()).encode()})

    def record(self) -> dict[str, Any]:
        """Return the facts as a JSON object."""
        return {**vars(self), "identity": vars(self.identity), "format": 1}

    @classmethod
    def parse(cls, text: str | bytes) -> "Facts":
        """Parse the facts from JSON.

        Raises:
            ValueError, KeyError, TypeError: the text is not a record of facts.
        """
        record = json.loads(text)
        if record.pop("format") != 1:
            raise ValueError("written by a newer version")
        return cls(**{**record, "identity": Identity(**record["identity"])})


class EmbeddingsFile:
    """Reads a file of embeddings.

    Raises:
        EmbeddingsUnreadable: it does not hold embeddings, or is broken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Buffering ahead would hold the whole column in memory by the end.
            self._file = pq.ParquetFile(path, pre_buffer=False)
            self.facts = Facts.parse((self._file.schema_arrow.metadata or {})[_KEY])
        except FileNotFoundError as error:
            raise EmbeddingsUnreadable(f"there is no file {path}; `moderator embed` makes one") from error
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            raise EmbeddingsUnreadable(
                f"{path} is no file of embeddings, or is broken ({error}); `moderator embed` makes one"
            ) from error
        if not self._file.schema_arrow.equals(self.facts.schema()):
            raise EmbeddingsUnreadable(f"{path} has other columns than a file of embeddings")

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def batches(self, columns: Sequence[str] = ("path", "sha256", "embedding")) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, at most `ROWS_PER_BLOCK` at a time.

        Raises:
            EmbeddingsUnreadable: a block is broken.
        """
        try:
            yield from self._file.iter_batches(ROWS_PER_BLOCK, columns=list(columns), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise EmbeddingsUnreadable(f"{self.path} is broken ({error}); embed again") from error

    def paths(self, rows: Sequence[int]) -> list[str]:
        """Return the paths of rows, given by number."""
        found: dict[int, str] = {}
        at = 0
        ordered = np.unique(np.asarray(rows, dtype=np.int64))
        for group in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(group).num_rows
            first, last = np.searchsorted(ordered, (at, at + count))
            if wanted := ordered[first:last].tolist():
                column = self._file.read_row_group(group, columns=["path"])["path"]
                found.update((row, column[row - at].as_py()) for row in wanted)
            at += count
        return [found[row] for row in rows]


def matrix(batch: pa.RecordBatch) -> Embeddings:
    """Return a block's embeddings: float32 [n, dimension]."""
    column = batch.column("embedding")
    values = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values.reshape(len(batch), column.type.list_size), dtype=np.float32)


def to_batch(facts: Facts, paths: list[str], digests: list[str], rows: Embeddings) -> pa.RecordBatch:
    """Build a block of a file from rows, float32 [n, dimension]."""
    values = pa.array(rows.astype(facts.stored).reshape(-1))
    embeddings = pa.FixedSizeListArray.from_arrays(values, facts.dimension)
    return pa.record_batch([pa.array(paths), pa.array(digests), embeddings], schema=facts.schema())


def open_writer(path: Path, facts: Facts) -> pq.ParquetWriter:
    """Open a writer of blocks. Embeddings do not repeat, so neither a dictionary nor compression helps."""
    compression = {"path": "zstd", "sha256": "zstd", "embedding.list.element": "none"}
    return pq.ParquetWriter(
        path, facts.schema(), use_dictionary=False, write_statistics=["path"], compression=compression
    )
