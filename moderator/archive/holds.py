"""Legal holds: whatever one names is neither retained away nor erased until the hold is released."""

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from moderator.archive.archive_records import column_text, subject_text
from moderator.archive.archive_store import Archive
from moderator.archive.tables import holds, verdicts
from moderator.errors import ArchiveFilterInvalid, HoldNotFound


@dataclass(frozen=True)
class Hold:
    """A legal hold on a subject, or on one event."""

    id: int
    subject: str | None
    source: str | None
    event_id: str | None
    reason: str
    placed_at: datetime


def place_hold(
    archive: Archive,
    reason: str,
    *,
    subject: str | None = None,
    source: str | None = None,
    event_id: str | None = None,
) -> int:
    """Place a hold on a subject, or on an event named by source and id; return its number.

    It also holds what is archived later.

    Raises:
        ArchiveFilterInvalid: it names neither, or both, or an empty subject.
    """
    names_event = source is not None and event_id is not None
    kept = None if subject is None else subject_text(subject)
    if (kept is None) != names_event or ((source is None) != (event_id is None)):
        raise ArchiveFilterInvalid("name a subject, or an event by its source and its id")
    values = {
        "subject": kept,
        "source": source and column_text(source),
        "event_id": event_id and column_text(event_id),
        "reason": column_text(reason),
        "placed_at": datetime.now(UTC),
    }
    with archive.database.write() as connection:
        number: int = connection.execute(sa.insert(holds).values(**values).returning(holds.c.id)).scalar_one()
    return number


def list_holds(archive: Archive) -> list[Hold]:
    """Return all holds, oldest first."""
    with archive.database.read() as connection:
        return [Hold(*row) for row in connection.execute(sa.select(holds).order_by(holds.c.id))]


def release_hold(archive: Archive, number: int) -> None:
    """Release a hold.

    Raises:
        HoldNotFound: there is none of that number.
    """
    with archive.database.write() as connection:
        if connection.execute(sa.delete(holds).where(holds.c.id == number)).rowcount == 0:
            raise HoldNotFound(f"there is no hold {number}; `moderator archive hold list` shows them")


def is_held() -> sa.ColumnElement[bool]:
    """Return the condition on verdicts that a hold names."""
    on_event = sa.and_(holds.c.source == verdicts.c.source, holds.c.event_id == verdicts.c.event_id)
    return sa.exists().where(sa.or_(holds.c.subject == verdicts.c.subject, on_event)).correlate(verdicts)
