"""The Parquet files of a backfill's result; each is written in one step."""

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from moderator.atomic import replacing
from moderator.backfill.result_rows import Row
from moderator.errors import ExtraMissing

#: Rows in one part, and in one row group of it: bounds the memory of writing.
PART_ROWS = 10_000
ERRORS_FILE = "errors.parquet"


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:06}.parquet"


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows into a Parquet file, which replaces `path`; return how many.

    Raises:
        ExtraMissing: pyarrow is not installed.
        OSError: the file cannot be written.
    """
    pyarrow, parquet = load_arrow()
    schema = _schema(pyarrow)
    remaining = iter(rows)
    count = 0
    with (
        replacing(path) as new,
        parquet.ParquetWriter(new, schema, compression="zstd") as writer,
    ):
        while some := list(islice(remaining, PART_ROWS)):
            table = pyarrow.Table.from_pylist([_typed(row) for row in some], schema=schema)
            writer.write_table(table)
            count += len(some)
    return count


def load_arrow() -> tuple[Any, Any]:
    """Return the modules `pyarrow` and `pyarrow.parquet`.

    Raises:
        ExtraMissing: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ExtraMissing("a backfill needs pyarrow: pip install 'moderator[backfill]'") from error
    return pyarrow, pyarrow.parquet


def _schema(pyarrow: Any) -> Any:
    text, number, score = pyarrow.string(), pyarrow.int32(), pyarrow.float64()
    return pyarrow.schema(
        {
            "id": text,
            "source": text,
            "path": text,
            "decision": text,
            "is_safe": pyarrow.bool_(),
            "unsafe_score": score,
            "safe_score": score,
            "category": text,
            "scores": pyarrow.map_(text, score),
            "policy": text,
            "policy_version": number,
            "policy_digest": text,
            "model": text,
            "model_revision": text,
            "sha256": text,
            "width": number,
            "height": number,
            "format": text,
            "error_type": text,
            "error": text,
            "judged_at": pyarrow.timestamp("us", "UTC"),
        }
    )


def _typed(row: Row) -> Row:
    """Return a row with the values that Arrow expects."""
    return {
        **row,
        "scores": list(row["scores"].items()),
        "judged_at": datetime.fromisoformat(row["judged_at"]),
    }
