"""Segments as files."""

from pathlib import Path

import numpy as np
import pytest

from moderator.archive.archive_records import Space
from moderator.archive.segment_file import (
    StoredEvidence,
    make_block,
    read_segment,
    read_verdict_ids,
    rows_of,
    write_segment,
)
from moderator.errors import ArchiveUnavailable, SegmentBroken
from tests.support.tools import needs_extra

pq = needs_extra("pyarrow.parquet", "archive")

SPACE = Space("hub/model", "r1", "p", 4)
ROWS = [
    StoredEvidence(n, n, np.full((n, 4), n, dtype="<f2").tobytes(), f'{{"tensor": {n}}}', f'{{"s": {n}}}')
    for n in (1, 2, 5)
]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model=x" / "day=2026-01-01" / "a.parquet"
    write_segment(path, SPACE, ROWS)
    block = read_segment(path)
    assert block.space == SPACE
    assert block.verdict_ids.tolist() == [1, 2, 2, 5, 5, 5, 5, 5] == read_verdict_ids(path).tolist()
    assert block.frames.tolist() == [0, 0, 1, 0, 1, 2, 3, 4]
    assert block.embeddings.tolist() == [[n] * 4 for n in (1, 2, 2, 5, 5, 5, 5, 5)]
    assert block.readings[:3] == ['{"s": 1}', '{"s": 2}', None]
    assert rows_of(block) == ROWS
    assert [file.name for file in path.parent.iterdir()] == ["a.parquet"], "nothing else is left"
    same = make_block(SPACE, ROWS)
    assert rows_of(same) == ROWS
    np.testing.assert_array_equal(same.verdict_ids, block.verdict_ids)


def test_other_programs_can_read_it(tmp_path: Path) -> None:
    write_segment(tmp_path / "a.parquet", SPACE, ROWS)
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert file.num_row_groups == 1
    columns = file.metadata.row_group(0)
    assert {columns.column(n).compression for n in range(columns.num_columns)} == {"UNCOMPRESSED"}
    assert str(file.schema_arrow.field("embedding").type) == "fixed_size_binary[8]"


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "folder"])
def test_a_damaged_segment_is_an_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.parquet"
    write_segment(path, SPACE, ROWS)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-20])
    elif damage == "flipped":
        at = content.index(ROWS[2].embedding)
        path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    elif damage == "foreign":
        import pyarrow as pa

        pq.write_table(pa.table({"verdict_id": [1], "frame": [0], "embedding": [b"x"]}), path)
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(SegmentBroken):
        read_segment(path)


def test_a_full_disk_is_an_error_and_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    write_segment(path, SPACE, ROWS[:1])
    monkeypatch.setattr(
        pq, "write_table", lambda *args, **more: (_ for _ in ()).throw(OSError(28, "no space"))
    )
    with pytest.raises(ArchiveUnavailable):
        write_segment(path, SPACE, ROWS)
    assert rows_of(read_segment(path)) == ROWS[:1]
