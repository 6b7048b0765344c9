"""Write verdicts of the archive to files: JSON Lines, CSV, Parquet."""

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from moderator.archive.archive_store import ArchivedVerdict
from moderator.atomic import replacing

#: Verdicts in one row group of a Parquet export.
ROW_GROUP_VERDICTS = 50_000
#: What spreadsheets would take for the beginning of a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

#: Columns of a table of verdicts: text, unless the name stands here.
COLUMNS = {
    "verdict_id": "int64",
    "source": "string",
    "event_id": "string",
    "decided_at": "string",
    "decision": "string",
    "category": "string",
    "unsafe_score": "float64",
    "safe_score": "float64",
    "policy": "string",
    "policy_version": "int64",
    "policy_digest": "string",
    "model": "string",
    "subject": "string",
    "image_sha256": "string",
    "error": "string",
}


def flatten(archived: ArchivedVerdict) -> dict[str, Any]:
    """Return a verdict as a row of `COLUMNS`. `category` is the one that decided."""
    verdict = archived.verdict
    part = {name: verdict.get(name) or {} for name in ("policy", "model", "image", "error", "metadata")}
    severity = ("allow", "review", "block", "error")
    answers = verdict.get("categories") or {}
    subject = part["metadata"].get("subject")
    return {
        "verdict_id": archived.id,
        "source": verdict["source"],
        "event_id": verdict["event_id"],
        "decided_at": archived.decided_at.isoformat(),
        "decision": verdict["decision"],
        "category": max(
            answers, key=lambda n: (severity.index(answers[n]["decision"]), answers[n]["score"]), default=None
        ),
        "unsafe_score": verdict.get("unsafe_score"),
        "safe_score": verdict.get("safe_score"),
        "policy": part["policy"].get("name"),
        "policy_version": part["policy"].get("version"),
        "policy_digest": part["policy"].get("digest"),
        "model": part["model"].get("id"),
        "subject": None if subject is None else str(subject),
        "image_sha256": part["image"].get("sha256"),
        "error": part["error"].get("type"),
    }


def write_jsonl(found: Iterable[ArchivedVerdict], out: IO[str]) -> int:
    """Write one verdict per line as it was published; return how many."""
    count = 0
    for count, archived in enumerate(found, 1):  # noqa: B007 (the number is the result)
        out.write(archived.body + "\n")
    return count


def write_csv(found: Iterable[ArchivedVerdict], out: IO[str]) -> int:
    """Write a table with a heading; return the number of verdicts.

    Texts that a spreadsheet would take for a formula begin with an apostrophe: ids come from uploads.
    """
    writer = csv.DictWriter(out, list(COLUMNS))
    writer.writeheader()
    count = 0
    for count, archived in enumerate(found, 1):  # noqa: B007 (the number is the result)
        writer.writerow({name: _harmless(value) for name, value in flatten(archived).items()})
    return count


def write_parquet(found: Iterable[ArchivedVerdict], path: Path) -> int:
    """Write a Parquet file in one step; return the number of verdicts.

    `verdict_id` joins with the segments of embeddings; `verdict` is the JSON as it was published.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        {**{name: getattr(pa, kind)() for name, kind in COLUMNS.items()}, "verdict": pa.string()}
    )
    count = 0
    with replacing(path) as new, pq.ParquetWriter(new, schema) as writer:
        for group in _groups(found):
            rows = [{**flatten(archived), "verdict": archived.body} for archived in group]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            count += len(rows)
    return count


def _groups(found: Iterable[ArchivedVerdict]) -> Iterator[list[ArchivedVerdict]]:
    remaining = iter(found)
    while group := list(islice(remaining, ROW_GROUP_VERDICTS)):
        yield group


def _harmless(value: Any) -> Any:
    return "'" + value if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
