"""Questions to the archive: which verdicts, in which order, and where a page goes on. Pure but for SQL expressions."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from moderator.archive.archive_records import column_text, subject_text
from moderator.archive.tables import flags, verdicts
from moderator.errors import ArchiveFilterInvalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class VerdictFilter:
    """Which verdicts; None means any. Moments need a time zone.

    `category`: one that reached `review` or `block`. `since` is included, `until` is not.
    """

    decision: str | None = None
    policy: str | None = None
    source: str | None = None
    category: str | None = None
    subject: str | None = None
    event_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return the conditions on rows of `verdicts`."""
        columns = {
            verdicts.c.decision: self.decision,
            verdicts.c.policy: self.policy,
            verdicts.c.source: self.source,
            verdicts.c.event_id: self.event_id,
        }
        found = [column == column_text(value) for column, value in columns.items() if value is not None]
        if self.subject is not None:
            found.append(verdicts.c.subject == subject_text(self.subject))
        if self.since is not None:
            found.append(verdicts.c.decided_at >= self.since)
        if self.until is not None:
            found.append(verdicts.c.decided_at < self.until)
        if self.category is not None:
            flagged = sa.select(flags.c.verdict_id).where(flags.c.category == column_text(self.category))
            found.append(verdicts.c.id.in_(flagged))
        return found


@dataclass(frozen=True)
class VerdictPage:
    """Verdicts, newest first, as JSON values; `next` continues after them, None: there are no more."""

    items: list[dict[str, Any]]
    next: str | None


#: Where a page ends: the moment and the number of its last verdict.
Position = tuple[datetime, int]


def write_cursor(position: Position) -> str:
    """Return a position as an opaque text that is safe in URLs."""
    micros = (position[0] - _EPOCH) // timedelta(microseconds=1)
    return urlsafe_b64encode(f"{micros}:{position[1]}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> Position:
    """Return the position that `write_cursor` wrote.

    Raises:
        ArchiveFilterInvalid: it did not.
    """
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        micros, _, number = text.partition(":")
        if not 0 < int(number) < 2**63:
            raise ValueError(number)
        return _EPOCH + timedelta(microseconds=int(micros)), int(number)
    except (ValueError, OverflowError) as error:
        raise ArchiveFilterInvalid(
            "the cursor is none of this archive; use `next` as it came, or start without"
        ) from error


def after(position: Position) -> sa.ColumnElement[bool]:
    """Return the condition on verdicts that follow a position, newest first."""
    at, number = position
    earlier = verdicts.c.decided_at < at
    return sa.or_(earlier, sa.and_(verdicts.c.decided_at == at, verdicts.c.id < number))
