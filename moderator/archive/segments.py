"""Move evidence from the database to Parquet segments, and back out of them.

Evidence is in one place at a time. The database is the truth about where: a segment is listed as `writing` with its
path and its verdicts before its file is made, the file is complete and synced before the database gives up its own
copy, and whoever comes after a crash writes the same file again. Files that the database does not list do not exist for
the archive. All of this happens under the database's lock.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from moderator.archive.archive_records import Space
from moderator.archive.archive_store import Archive
from moderator.archive.segment_file import (
    SEGMENT_FRAMES_MAX,
    StoredEvidence,
    read_segment,
    read_verdict_ids,
    rows_of,
    write_segment,
)
from moderator.archive.tables import evidence, segments, spaces
from moderator.errors import SegmentBroken

T = TypeVar("T")

#: Evidence that has waited for so long moves to a segment even if it does not fill one.
SEAL_AFTER = timedelta(days=1)
WRITING, SEALED = "writing", "sealed"


@dataclass(frozen=True)
class Segment:
    """A segment as the database lists it."""

    id: int
    space: Space
    day: date
    path: str
    """Below the folder of segments."""
    frames: int
    first_verdict_id: int
    last_verdict_id: int


def seal(archive: Archive, *, everything: bool = False, now: datetime | None = None) -> int:
    """Move evidence that fills segments, or has waited for long, out of the database; return the segments written.

    Args:
        archive: with a folder; without one, nothing happens.
        everything: also what neither fills a segment nor has waited.
        now: the time, for tests.

    Raises:
        ArchiveUnavailable: the database or the disk refuses; what was begun is finished next time.
    """
    if archive.folder is None:
        return 0
    with archive.database.exclusive(wait=everything) as held:
        if not held:
            return 0
        written = finish_begun(archive)
        old = None if everything else (now or datetime.now(UTC)) - SEAL_AFTER
        while (segment := _begin(archive, old)) is not None:
            _finish(archive, segment)
            written += 1
        return written


def finish_begun(archive: Archive) -> int:
    """Complete the segments that a process began and did not finish. Needs the lock."""
    with archive.database.read() as connection:
        begun = list_segments(connection, state=WRITING)
    for segment in begun:
        _finish(archive, segment)
    return len(begun)


def list_segments(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool], state: str = SEALED
) -> list[Segment]:
    """Return the segments, by day."""
    joined = sa.select(segments, spaces).join(spaces, segments.c.space_id == spaces.c.id)
    chosen = joined.where(segments.c.state == state, *conditions).order_by(segments.c.day, segments.c.id)
    return [
        Segment(
            row[segments.c.id],
            Space(*(row[spaces.c[name]] for name in Space.__dataclass_fields__)),
            *(
                row[segments.c[name]]
                for name in ("day", "path", "frames", "first_verdict_id", "last_verdict_id")
            ),
        )
        for row in connection.execute(chosen).mappings()
    ]


def drop_from_segments(archive: Archive, verdict_ids: Collection[int]) -> int:
    """Rewrite the segments that hold evidence of some verdicts without it; return how many. Needs the lock.

    Done twice, it changes nothing more.
    """
    wanted = sorted(verdict_ids)
    with archive.database.read() as connection:
        listed = list_segments(connection)
    dropped = 0
    for segment in listed:
        at = bisect_left(wanted, segment.first_verdict_id)
        if at < len(wanted) and wanted[at] <= segment.last_verdict_id:
            dropped += _drop(archive, segment, set(wanted))
    return dropped


def _drop(archive: Archive, segment: Segment, wanted: set[int]) -> bool:
    path = path_of(archive, segment)
    try:
        if wanted.isdisjoint(read_verdict_ids(path).tolist()):
            return False
        kept = [row for row in rows_of(read_segment(path)) if row.verdict_id not in wanted]
    except FileNotFoundError:
        kept = []  # an earlier try has emptied it
    if kept:
        write_segment(path, segment.space, kept)
    else:
        path.unlink(missing_ok=True)
    same = segments.c.id == segment.id
    frames = sum(row.frames for row in kept)
    with archive.database.write() as connection:
        connection.execute(
            sa.update(segments).where(same).values(frames=frames) if kept else sa.delete(segments).where(same)
        )
    return True


def read_rows(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[StoredEvidence]:
    """Return evidence from the database, by number of the verdict."""
    c = evidence.c
    chosen = sa.select(c.verdict_id, c.frames, c.embedding, c.tensor, c.readings).where(*conditions)
    return [StoredEvidence(*row) for row in connection.execute(chosen.order_by(c.verdict_id))]


def path_of(archive: Archive, segment: Segment) -> Path:
    """Return the path of a segment's file."""
    if archive.folder is None:
        raise SegmentBroken(
            f"the segment {segment.path} is not here: set MODERATOR_ARCHIVE_SEGMENTS to its folder"
        )
    return archive.folder / segment.path


def in_parts(ids: Sequence[T], size: int = 1000) -> Iterator[Sequence[T]]:
    """Yield values in parts that fit a statement."""
    for at in range(0, len(ids), size):
        yield ids[at : at + size]


def partition_folder(space: Space, day: date) -> str:
    """Return the folder of a partition, as Hive-style readers understand it."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", f"{space.model}-{space.revision[:12]}").strip("-.")[:80]
    unique = sha256(repr(space).encode()).hexdigest()[:8]
    return f"model={readable}-{unique}/day={day.isoformat()}"


def _begin(archive: Archive, old: datetime | None) -> Segment | None:
    """List a segment as `writing`, with the evidence that goes there; None: there is nothing to move."""
    c = evidence.c
    with archive.database.write() as connection:
        full = sa.func.sum(c.frames) >= SEGMENT_FRAMES_MAX
        due = sa.true() if old is None else sa.or_(full, sa.func.min(c.archived_at) < old)
        waiting = sa.select(c.space_id, c.day).group_by(c.space_id, c.day).having(due)
        partition = connection.execute(waiting.order_by(c.day).limit(1)).first()
        if partition is None:
            return None
        mine = (c.space_id == partition.space_id, c.day == partition.day)
        ordered = sa.select(c.verdict_id, c.frames).where(*mine).order_by(c.verdict_id)
        ids: list[int] = []
        frames = 0
        for id, count in connection.execute(ordered.limit(SEGMENT_FRAMES_MAX)):
            if ids and frames + count > SEGMENT_FRAMES_MAX:
                break
            ids.append(id)
            frames += count
        chosen = sa.select(spaces).where(spaces.c.id == partition.space_id)
        found = connection.execute(chosen).mappings().one()
        space = Space(*(found[name] for name in Space.__dataclass_fields__))
        ends = {"first_verdict_id": ids[0], "last_verdict_id": ids[-1]}
        values = {"space_id": partition.space_id, "day": partition.day, "state": WRITING, "frames": frames}
        made = sa.insert(segments).values(**values, **ends, path="").returning(segments.c.id)
        number: int = connection.execute(made).scalar_one()
        path = f"{partition_folder(space, partition.day)}/segment-{number}.parquet"
        connection.execute(sa.update(segments).where(segments.c.id == number).values(path=path))
    return Segment(number, space, partition.day, path, frames, **ends)


def _finish(archive: Archive, segment: Segment) -> None:
    """Write the file of a listed segment, then let the database give up its copy."""
    with archive.database.read() as connection:
        space_id = sa.select(segments.c.space_id).where(segments.c.id == segment.id).scalar_subquery()
        c = evidence.c
        # Others that write at the same time may have added some before the last one since: they come along.
        mine = (c.space_id == space_id, c.day == segment.day, c.verdict_id <= segment.last_verdict_id)
        rows = read_rows(connection, *mine)
    same = segments.c.id == segment.id
    if not rows:  # all of it was deleted since
        with archive.database.write() as connection:
            connection.execute(sa.delete(segments).where(same))
        return
    assert archive.folder is not None
    archive.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_segment(path_of(archive, segment), segment.space, rows)
    ids = [row.verdict_id for row in rows]
    with archive.database.write() as connection:
        for part in in_parts(ids):
            connection.execute(sa.delete(evidence).where(evidence.c.verdict_id.in_(part)))
        frames = sum(row.frames for row in rows)
        values = {"state": SEALED, "frames": frames, "first_verdict_id": ids[0], "last_verdict_id": ids[-1]}
        connection.execute(sa.update(segments).where(same).values(**values))
