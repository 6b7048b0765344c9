"""A segment: one Parquet file of evidence. Any program that reads Parquet can read it.

Columns: `verdict_id`, the number of the verdict in the database, ascending; `frame`, from 0; `embedding`, float16 of
the segment's dimension, little-endian; on the first frame of a verdict, `tensor` and `readings`, its description and
signal readings as JSON. One row group, uncompressed, each page with a checksum.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moderator.archive.archive_records import Space
from moderator.atomic import replacing
from moderator.errors import ArchiveUnavailable, SegmentBroken, brief

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Rows of one row group, and so of a segment.
SEGMENT_FRAMES_MAX = 65_536
#: Bytes of one number of an embedding.
NUMBER_BYTES = 2
#: Key of the space in a file's metadata.
SPACE_KEY = b"moderator.space"


@dataclass(frozen=True)
class StoredEvidence:
    """The evidence of one verdict as it is stored."""

    verdict_id: int
    frames: int
    embedding: bytes
    tensor: str
    readings: str


@dataclass(frozen=True, eq=False)
class EvidenceBlock:
    """Evidence of many verdicts, one row for each frame."""

    space: Space
    verdict_ids: "NDArray[Any]"
    """int64 [rows]: numbers of verdicts."""
    frames: "NDArray[Any]"
    """int16 [rows]: number of the frame within its verdict, from 0."""
    embeddings: "NDArray[Any]"
    """float16 [rows, dimension]."""
    readings: Sequence[str | None]
    """JSON on the first frame of each verdict; empty if they were not asked for."""
    tensors: Sequence[str | None]
    """The description of the embeddings: the same."""


def write_segment(path: Path, space: Space, rows: Sequence[StoredEvidence]) -> None:
    """Write a segment in one step and sync it: a crash leaves all of it or nothing.

    Raises:
        ArchiveUnavailable: the disk refuses.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    counts = [row.frames for row in rows]
    width = NUMBER_BYTES * space.dimension
    content = pa.py_buffer(b"".join(row.embedding for row in rows))
    type_ = pa.binary(width)
    total = sum(counts)
    texts = {
        name: [getattr(row, name) if frame == 0 else None for row in rows for frame in range(row.frames)]
        for name in ("tensor", "readings")
    }
    schema = pa.schema(
        [
            pa.field("verdict_id", pa.int64(), nullable=False),
            pa.field("frame", pa.int16(), nullable=False),
            pa.field("embedding", type_, nullable=False),
            pa.field("tensor", pa.string()),
            pa.field("readings", pa.string()),
        ],
        metadata={SPACE_KEY: json.dumps(vars(space)).encode()},
    )
    table = pa.table(
        [
            pa.array([row.verdict_id for row in rows for _ in range(row.frames)], pa.int64()),
            pa.array([frame for count in counts for frame in range(count)], pa.int16()),
            pa.FixedSizeBinaryArray.from_buffers(type_, total, [None, content]),
            pa.array(texts["tensor"], pa.string()),
            pa.array(texts["readings"], pa.string()),
        ],
        schema=schema,
    )
    try:
        with replacing(path) as new:
            pq.write_table(
                table,
                new,
                row_group_size=max(1, total),
                compression="none",
                use_dictionary=["tensor", "readings"],
                write_statistics=["verdict_id"],
                write_page_checksum=True,
            )
    except OSError as error:
        raise ArchiveUnavailable(f"the segment {path} cannot be written ({brief(error)})") from error


def read_segment(path: Path, *, readings: bool = True, verify: bool = True) -> EvidenceBlock:
    """Read a segment.

    Args:
        path: of the file.
        readings: also read signal readings.
        verify: compare the checksums of its pages, which takes longer than to read them.

    Raises:
        FileNotFoundError: there is none.
        SegmentBroken: it is damaged, or none of the archive's.
    """
    import numpy as np

    names = ["verdict_id", "frame", "embedding", "tensor", *(("readings",) if readings else ())]
    table = _read_table(path, names, verify)
    try:
        space = Space(**json.loads(table.schema.metadata[SPACE_KEY]))
        column = _one_chunk(table.column("embedding"))
        start = column.offset * space.dimension
        numbers = np.frombuffer(column.buffers()[1], dtype="<f2")
        length = len(column) * space.dimension
        embeddings = numbers[start : start + length].reshape(-1, space.dimension)
        texts = {name: _texts(table.column(name)) if name in names else [] for name in ("tensor", "readings")}
        ids, frames = (table.column(name).to_numpy() for name in ("verdict_id", "frame"))
        return EvidenceBlock(space, ids, frames, embeddings, texts["readings"], texts["tensor"])
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, error) from error


def read_verdict_ids(path: Path) -> "NDArray[Any]":
    """Return the numbers of the verdicts in a segment, int64, one for each frame. See `read_segment`."""
    ids: NDArray[Any] = _read_table(path, ["verdict_id"], verify=True).column("verdict_id").to_numpy()
    return ids


def rows_of(block: EvidenceBlock) -> list[StoredEvidence]:
    """Return a block verdict by verdict, as `write_segment` takes it."""
    starts = [row for row, frame in enumerate(block.frames.tolist()) if frame == 0]
    return [
        StoredEvidence(
            int(block.verdict_ids[start]),
            end - start,
            block.embeddings[start:end].tobytes(),
            block.tensors[start] or "",
            block.readings[start] or "",
        )
        for start, end in zip(starts, [*starts[1:], len(block.frames)], strict=True)
    ]


def make_block(space: Space, rows: Sequence[StoredEvidence]) -> EvidenceBlock:
    """Return rows of the database as a block."""
    import numpy as np

    counts = np.array([row.frames for row in rows])
    firsts = np.concatenate([np.arange(row.frames) for row in rows]).astype(np.int16)
    numbers = np.frombuffer(b"".join(row.embedding for row in rows), dtype="<f2")
    texts: dict[str, list[str | None]] = {
        name: [getattr(row, name) if frame == 0 else None for row in rows for frame in range(row.frames)]
        for name in ("tensor", "readings")
    }
    ids = np.repeat(np.array([row.verdict_id for row in rows], dtype=np.int64), counts)
    return EvidenceBlock(
        space, ids, firsts, numbers.reshape(-1, space.dimension), texts["readings"], texts["tensor"]
    )


def _texts(column: Any) -> list[str | None]:
    """Return a column of texts; equal ones are one object, so that many are read, hashed and parsed quickly."""
    import numpy as np

    coded = _one_chunk(column)
    known = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
    texts: list[str | None] = known[coded.indices.fill_null(len(known) - 1).to_numpy()].tolist()
    return texts


def _one_chunk(column: Any) -> Any:
    """Return a column as one array; a segment has one row group, so it is not copied."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _read_table(path: Path, names: list[str], verify: bool) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Mapped: a segment is replaced by another file, never written into.
        texts = [name for name in ("tensor", "readings") if name in names]
        with pq.ParquetFile(
            path, memory_map=True, page_checksum_verification=verify, read_dictionary=texts
        ) as file:
            return file.read(columns=names)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, KeyError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> SegmentBroken:
    return SegmentBroken(
        f"the segment {path} is damaged or none of the archive's ({brief(error)}); restore it from a backup"
    )
