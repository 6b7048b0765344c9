"""Exports of verdicts."""

import csv
import io
from pathlib import Path

from moderator.archive.archive_export import COLUMNS, write_csv, write_jsonl, write_parquet
from moderator.archive.archive_store import ArchivedVerdict
from moderator.verdicts import Decision
from tests.support.archived import NOON, make_verdict
from tests.support.tools import needs_extra

pq = needs_extra("pyarrow.parquet", "archive")

FOUND = [
    ArchivedVerdict(n, NOON, verdict.model_dump_json())
    for n, verdict in enumerate(
        [
            make_verdict(3, event_id="=HYPERLINK(1)"),
            make_verdict(1, metadata={"subject": 17}),
            make_verdict(2, decision=Decision.ERROR, policy=None, image=None, model=None, categories={}),
        ]
    )
]


def test_json_lines_are_the_verdicts_as_published() -> None:
    out = io.StringIO()
    assert write_jsonl(FOUND, out) == 3
    assert out.getvalue().splitlines() == [one.body for one in FOUND]


def test_a_table_cannot_calculate() -> None:
    out = io.StringIO(newline="")
    assert write_csv(FOUND, out) == 3
    rows = list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
    assert list(rows[0]) == list(COLUMNS)
    assert rows[0]["event_id"] == "'=HYPERLINK(1)"
    assert [row["category"] for row in rows] == ["weapons", "drugs", ""]
    assert rows[1]["subject"] == "17"


def test_parquet(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.parquet"
    assert write_parquet(iter(FOUND), file) == 3
    table = pq.read_table(file)
    assert table.column("verdict_id").to_pylist() == [0, 1, 2]
    assert table.column("policy_version").to_pylist() == [1, 1, None]
    assert table.column("verdict").to_pylist() == [one.body for one in FOUND]
    assert write_parquet([], file) == 0
    assert pq.read_table(file).num_rows == 0
