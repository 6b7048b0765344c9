"""How an archive is: what it holds, and what is wrong with it."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from moderator.archive.archive_store import Archive
from moderator.archive.segments import SEALED, list_segments
from moderator.archive.tables import SCHEMA_REVISION, evidence, holds, segments, tombstones, verdicts


@dataclass(frozen=True)
class ArchiveState:
    """What an archive holds. Moments are None for an empty one."""

    schema: str
    verdicts: int
    decisions: dict[str, int]
    oldest: datetime | None
    newest: datetime | None
    segments: int
    segment_frames: int
    """Rows of embeddings in segments."""
    waiting_frames: int
    """Rows of embeddings that are still in the database."""
    missing_segments: tuple[str, ...]
    """Segments without their file."""
    holds: int
    tombstones: int


def read_state(archive: Archive) -> ArchiveState:
    """Return how an archive is.

    Raises:
        ArchiveUnavailable: the database cannot be read.
    """
    v = verdicts.c
    with archive.database.read() as connection:
        counted = sa.select(v.decision, sa.func.count()).group_by(v.decision)
        decisions = {row[0]: row[1] for row in connection.execute(counted)}
        ends = connection.execute(sa.select(sa.func.min(v.decided_at), sa.func.max(v.decided_at))).one()
        sealed = segments.c.state == SEALED
        in_segments = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(segments.c.frames), 0))
        number, frames = connection.execute(in_segments.where(sealed)).one()
        waiting = connection.execute(
            sa.select(sa.func.coalesce(sa.func.sum(evidence.c.frames), 0))
        ).scalar_one()
        held, erased = (
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (holds, tombstones)
        )
        listed = list_segments(connection)
    missing = [
        one.path for one in listed if archive.folder is None or not (archive.folder / one.path).exists()
    ]
    return ArchiveState(
        SCHEMA_REVISION,
        sum(decisions.values()),
        decisions,
        *ends,
        number,
        int(frames),
        int(waiting),
        tuple(missing),
        held,
        erased,
    )
