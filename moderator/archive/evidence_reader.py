"""Read evidence back: of one verdict for a replay, of many for a back-test."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import groupby

import numpy as np
import sqlalchemy as sa

from moderator.archive.archive_records import Space
from moderator.archive.archive_store import Archive
from moderator.archive.segment_file import (
    EvidenceBlock,
    StoredEvidence,
    make_block,
    read_segment,
    rows_of,
)
from moderator.archive.segments import in_parts, list_segments, path_of, read_rows
from moderator.archive.tables import evidence, segments, spaces, verdicts
from moderator.errors import SegmentBroken
from moderator.queue.evidence import Evidence

#: Verdicts read from the database at a time.
READ_VERDICTS_MAX = 8192


def evidence_of(archive: Archive, verdict_id: int) -> Evidence | None:
    """Return the evidence of a verdict; None: it has none, because its image could not be judged.

    Raises:
        SegmentBroken: the segment that holds it is missing or damaged.
    """
    with archive.database.read() as connection:
        rows = read_rows(connection, evidence.c.verdict_id == verdict_id)
        if rows:
            return _read(rows[0])
        c = segments.c
        around = (c.first_verdict_id <= verdict_id, c.last_verdict_id >= verdict_id)
        listed = list_segments(connection, *around)
    for segment in listed:
        try:
            block = read_segment(path_of(archive, segment))
        except FileNotFoundError as error:
            raise _missing(segment.path) from error
        at = np.flatnonzero(block.verdict_ids == verdict_id)
        if len(at):
            return _read(rows_of(_part(block, slice(int(at[0]), int(at[-1]) + 1)))[0])
    return None


def read_blocks(
    archive: Archive,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    readings: bool = True,
) -> Iterator[EvidenceBlock]:
    """Yield all evidence of a period in blocks of up to 65,536 frames of one space: each frame once.

    What is archived meanwhile is left out, and so is what is erased meanwhile.

    Args:
        archive: the archive.
        since: moment of the first decision, with a time zone; None: from the beginning.
        until: moment before which decisions were made; None: until now.
        readings: also read signal readings.
    """
    since, until = (moment and moment.astimezone(UTC) for moment in (since, until))
    c = segments.c
    days = [
        *([] if since is None else [c.day >= since.date()]),
        *([] if until is None else [c.day <= (until - timedelta.resolution).date()]),
    ]
    with (
        archive.database.read() as connection
    ):  # one state: what moves to a segment meanwhile comes from here
        listed = list_segments(connection, *days)
        yield from _unsealed(connection, since, until)
    for segment in listed:
        try:
            block = read_segment(path_of(archive, segment), readings=readings, verify=False)
        except FileNotFoundError as error:
            if _is_listed(archive, segment.id):
                raise _missing(segment.path) from error
            continue
        begin = datetime.combine(segment.day, time.min, UTC)
        inside = (since is None or since <= begin) and (until is None or until >= begin + timedelta(days=1))
        yield block if inside else _within(archive, block, since, until)


def _unsealed(
    connection: sa.Connection, since: datetime | None, until: datetime | None
) -> Iterator[EvidenceBlock]:
    v, e = verdicts.c, evidence.c
    chosen = sa.select(e.space_id, e.verdict_id).join(verdicts, v.id == e.verdict_id)
    chosen = chosen.where(*_period(since, until)).order_by(e.space_id, e.verdict_id)
    found = connection.execute(chosen).all()
    for space_id, group in groupby(found, lambda row: row.space_id):
        row = connection.execute(sa.select(spaces).where(spaces.c.id == space_id)).mappings().one()
        space = Space(*(row[name] for name in Space.__dataclass_fields__))
        for part in in_parts([one.verdict_id for one in group], READ_VERDICTS_MAX):
            yield make_block(space, read_rows(connection, e.verdict_id.in_(part)))


def _within(
    archive: Archive, block: EvidenceBlock, since: datetime | None, until: datetime | None
) -> EvidenceBlock:
    """Return the frames of verdicts of the period."""
    ids = verdicts.c.id
    ends = (ids >= int(block.verdict_ids[0]), ids <= int(block.verdict_ids[-1]))
    with archive.database.read() as connection:
        found = connection.execute(sa.select(ids).where(*ends, *_period(since, until))).scalars().all()
    return _part(block, np.isin(block.verdict_ids, np.array(found, dtype=np.int64)))


def _part(block: EvidenceBlock, rows: "slice | np.ndarray[tuple[int], np.dtype[np.bool_]]") -> EvidenceBlock:
    readings, tensors = (
        np.array(column, dtype=object)[rows].tolist() if column else []
        for column in (block.readings, block.tensors)
    )
    return EvidenceBlock(
        block.space, block.verdict_ids[rows], block.frames[rows], block.embeddings[rows], readings, tensors
    )


def _period(since: datetime | None, until: datetime | None) -> list[sa.ColumnElement[bool]]:
    return [
        *([] if since is None else [verdicts.c.decided_at >= since]),
        *([] if until is None else [verdicts.c.decided_at < until]),
    ]


def _is_listed(archive: Archive, segment_id: int) -> bool:
    with archive.database.read() as connection:
        return bool(list_segments(connection, segments.c.id == segment_id))


def _missing(path: str) -> SegmentBroken:
    return SegmentBroken(
        f"the segment {path} is missing: restore it from a backup, or set MODERATOR_ARCHIVE_SEGMENTS to its folder"
    )


def _read(row: StoredEvidence) -> Evidence:
    return Evidence.from_fields(row.embedding, row.tensor.encode(), row.readings.encode())
