"""Write and read the archive's verdicts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy.dialects import postgresql, sqlite

from moderator.archive.archive_records import NewRecord, Space
from moderator.archive.database import SEGMENTS_SUFFIX, Database, database_of
from moderator.archive.tables import evidence, flags, spaces, tombstones, verdicts
from moderator.archive.tombstones import Tombstones
from moderator.archive.verdict_filter import (
    Position,
    VerdictFilter,
    VerdictPage,
    after,
    read_cursor,
    write_cursor,
)
from moderator.settings import ArchiveSettings

#: Most verdicts in one page.
PAGE_VERDICTS_MAX = 1000


@dataclass(frozen=True)
class ArchivedVerdict:
    """A verdict of the archive."""

    id: int
    decided_at: datetime
    body: str
    """As it was published: JSON."""

    @property
    def position(self) -> Position:
        """Return where to read on after it."""
        return self.decided_at, self.id

    @property
    def verdict(self) -> dict[str, Any]:
        """Return its JSON value."""
        value: dict[str, Any] = from_json(self.body)
        return value


@dataclass(frozen=True)
class Added:
    """What became of records: new, archived before, or about a subject that has been erased since."""

    archived: int
    repeated: int
    erased: int


class Archive:
    """The verdicts of one database, and the folder of its segments. Thread-safe.

    Args:
        database: with the tables.
        folder: of segments; None: evidence stays in the database.
    """

    def __init__(self, database: Database, folder: Path | None) -> None:
        self.database = database
        self.folder = folder
        self._insert = sqlite.insert if database.is_sqlite else postgresql.insert

    def add(self, records: Sequence[NewRecord]) -> Added:
        """Write verdicts with their evidence, in one transaction. What is there already stays as it is.

        Raises:
            RecordRefused: the database cannot hold one of them; none was written.
            ArchiveUnavailable: the database cannot be reached, or refuses; none was written.
        """
        with self.database.write() as connection:
            wanted = self._without_erased(connection, records)
            new = self._add_verdicts(connection, wanted) if wanted else {}
            reached = [
                {"category": category, "verdict_id": id, "decision": decision}
                for id, record in new.items()
                for category, decision in record.flags.items()
            ]
            if reached:
                connection.execute(sa.insert(flags), reached)
            self._add_evidence(connection, new)
        return Added(len(new), len(wanted) - len(new), len(records) - len(wanted))

    def list_verdicts(self, filters: VerdictFilter, cursor: str | None, limit: int) -> VerdictPage:
        """Return a page of verdicts, newest first.

        Raises:
            ArchiveFilterInvalid: the cursor is none.
            ArchiveUnavailable: the database cannot be reached.
        """
        count = max(1, min(limit, PAGE_VERDICTS_MAX))
        found = self.find(filters, None if cursor is None else read_cursor(cursor), count + 1)
        shown = found[:count]
        more = write_cursor(shown[-1].position) if len(found) > count else None
        return VerdictPage([one.verdict for one in shown], more)

    def find(
        self, filters: VerdictFilter, position: Position | None = None, limit: int = PAGE_VERDICTS_MAX
    ) -> list[ArchivedVerdict]:
        """Return up to `limit` verdicts after a position, newest first."""
        chosen = sa.select(verdicts.c.id, verdicts.c.decided_at, verdicts.c.body).where(
            *filters.conditions(), *([] if position is None else [after(position)])
        )
        ordered = chosen.order_by(verdicts.c.decided_at.desc(), verdicts.c.id.desc()).limit(limit)
        with self.database.read() as connection:
            return [ArchivedVerdict(*row) for row in connection.execute(ordered)]

    def get(self, ids: Sequence[int]) -> dict[int, ArchivedVerdict]:
        """Return verdicts by their numbers, at most a thousand; those that are gone are left out."""
        c = verdicts.c
        chosen = sa.select(c.id, c.decided_at, c.body).where(c.id.in_(ids))
        with self.database.read() as connection:
            return {row.id: ArchivedVerdict(*row) for row in connection.execute(chosen)}

    def scan(self, filters: VerdictFilter) -> Iterator[ArchivedVerdict]:
        """Yield all verdicts, newest first, page by page. What comes meanwhile is left out."""
        position: Position | None = None
        while page := self.find(filters, position):
            yield from page
            position = page[-1].position

    def close(self) -> None:
        """Close the connections."""
        self.database.close()

    def _without_erased(
        self, connection: sa.Connection, records: Sequence[NewRecord]
    ) -> Mapping[tuple[str, str, str], NewRecord]:
        """Return the records by identity, without those about subjects that were erased after the decision."""
        if not self.database.is_sqlite:
            # An erasure waits for this transaction, and this one sees what an erasure before it has left.
            connection.execute(sa.text("LOCK TABLE tombstones IN SHARE MODE"))
        found = {record.identity: record for record in records}
        if connection.execute(sa.select(tombstones.c.hash).limit(1)).first() is None:
            return found
        hasher = Tombstones(connection)
        events = {identity: hasher.event(*identity[:2]) for identity in found}
        about = {record.columns["subject"] for record in records}
        subjects = {subject: hasher.subject(subject) for subject in about if subject is not None}
        erased = hasher.find({*events.values(), *subjects.values()})
        return {
            identity: record
            for identity, record in found.items()
            if events[identity] not in erased
            and (
                (since := erased.get(subjects.get(record.columns["subject"], ""))) is None
                or record.columns["decided_at"] > since
            )
        }

    def _add_verdicts(
        self, connection: sa.Connection, records: Mapping[tuple[str, str, str], NewRecord]
    ) -> dict[int, NewRecord]:
        """Insert what is new, and return it by the number of its row."""
        rows = [
            {"source": identity[0], "event_id": identity[1], "digest": identity[2], **record.columns}
            for identity, record in records.items()
        ]
        inserted = self._insert(verdicts).on_conflict_do_nothing()
        c = verdicts.c
        answer = connection.execute(inserted.returning(c.id, c.source, c.event_id, c.digest), rows)
        return {row.id: records[row.source, row.event_id, row.digest] for row in answer}

    def _add_evidence(self, connection: sa.Connection, new: Mapping[int, NewRecord]) -> None:
        now = datetime.now(UTC)
        kept_spaces = {record.evidence.space for record in new.values() if record.evidence is not None}
        numbers = {space: self._space_id(connection, space) for space in kept_spaces}
        rows = [
            {
                "verdict_id": id,
                "space_id": numbers[kept.space],
                "day": kept.day,
                "frames": kept.frames,
                "archived_at": now,
                "embedding": kept.embedding,
                "tensor": kept.tensor,
                "readings": kept.readings,
            }
            for id, record in new.items()
            if (kept := record.evidence) is not None
        ]
        if rows:
            connection.execute(sa.insert(evidence), rows)

    def _space_id(self, connection: sa.Connection, space: Space) -> int:
        chosen = sa.select(spaces.c.id).where(
            *(spaces.c[name] == value for name, value in vars(space).items())
        )
        if connection.execute(chosen).scalar() is None:
            connection.execute(self._insert(spaces).values(**vars(space)).on_conflict_do_nothing())
        number: int = connection.execute(chosen).scalar_one()
        return number


def open_archive(settings: ArchiveSettings) -> Archive:
    """Return the archive of the settings; nothing is connected before its first use.

    Raises:
        ArchiveOff: there is none.
        SettingsError: its URL is malformed.
        ExtraMissing: the driver of its database is not installed.
    """
    database = database_of(settings)
    folder = settings.archive_segments
    if folder is None and database.file is not None:
        folder = database.file.with_name(database.file.name + SEGMENTS_SUFFIX)
    return Archive(database, folder)
