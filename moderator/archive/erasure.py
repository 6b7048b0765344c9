"""Erase a subject: every verdict and all evidence about it, in every store, and a proof that nothing is left."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from moderator.archive.archive_records import subject_text
from moderator.archive.archive_store import Archive
from moderator.archive.retention import delete_verdicts
from moderator.archive.segment_file import read_verdict_ids
from moderator.archive.segments import finish_begun, in_parts, list_segments, path_of
from moderator.archive.subject_search import Sought, forget_history, remove, search
from moderator.archive.tables import evidence, flags, holds, verdicts
from moderator.archive.tombstones import Tombstones
from moderator.errors import ArchiveFilterInvalid, SubjectHeld
from moderator.queue.connection import Redis
from moderator.queue.spool_file import Spool


@dataclass(frozen=True)
class ErasureProof:
    """What an erasure removed, and what a search of every store found afterwards."""

    subject_hash: str
    """A keyed hash: whoever has the archive can check it against a subject, nobody else."""
    erased_at: datetime
    removed: dict[str, int]
    """By store."""
    left: dict[str, int]
    """The same, found afterwards: 0 everywhere, or the erasure is incomplete."""
    in_progress: dict[str, int]
    """Events of the subject without a verdict: erase again once they have one."""
    images_of_others: int
    """Images of the subject that events of others have as well: their verdicts still hold the digest."""

    @property
    def proved(self) -> bool:
        """Return whether nothing is left."""
        return not any(self.left.values()) and not any(self.in_progress.values())

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON value."""
        return {**vars(self), "erased_at": self.erased_at.isoformat(), "proved": self.proved}


@dataclass(frozen=True)
class Holdings:
    """What the archive holds of a subject."""

    ids: frozenset[int]
    sought: Sought


class Erasure:
    """Erases subjects.

    Args:
        archive: the archive.
        client: Redis, of all workers that fill it.
        spool: of this machine, if it has one.
    """

    def __init__(self, archive: Archive, client: Redis, spool: Spool | None) -> None:
        self._archive = archive
        self._redis = client
        self._spool = spool

    def preview(self, subject: str) -> dict[str, int]:
        """Return how much an erasure would remove, by store."""
        target = self._find(_checked(subject))
        return self._count(target) | search(self._redis, target.sought, self._spool).counts

    def erase(self, subject: str, now: datetime | None = None) -> ErasureProof:
        """Erase a subject, then search every store for it. Done again, it completes what was interrupted.

        The tombstone comes first, so that nothing that was decided before is archived behind its back.

        Raises:
            ArchiveFilterInvalid: that is no subject.
            SubjectHeld: a legal hold forbids it; nothing was changed.
            ArchiveUnavailable: the database or the disk refuses.
        """
        kept, erased_at = _checked(subject), now or datetime.now(UTC)
        with self._archive.database.exclusive():
            finish_begun(self._archive)
            self._refuse_held(kept)
            target = self._find(kept)
            with self._archive.database.write() as connection:
                hasher = Tombstones(connection)
                subject_hash = hasher.subject(kept)
                events = {hasher.event(*event) for event in target.sought.events}
                hasher.add({subject_hash, *events}, erased_at)
            target = self._find(kept)  # what was archived up to that moment
            removed = self._count(target)
            # Redis before the rows: after a crash, the rows still say which events and images to look for.
            found = search(self._redis, target.sought, self._spool)
            remove(self._redis, found)
            forget_history(self._redis)
            removed["rewritten segments"] = delete_verdicts(self._archive, target.ids)
        self._archive.database.shred()
        again = search(self._redis, target.sought, self._spool)
        return ErasureProof(
            subject_hash,
            erased_at,
            removed | found.counts,
            self._count(Holdings(target.ids | self._find(kept).ids, target.sought)) | again.counts,
            dict(again.in_progress),
            self._count_shared(target.sought),
        )

    def _refuse_held(self, subject: str) -> None:
        chosen = sa.select(holds.c.id, holds.c.reason)
        events = sa.select(verdicts.c.source, verdicts.c.event_id).where(verdicts.c.subject == subject)
        on_event = sa.tuple_(holds.c.source, holds.c.event_id).in_(events)
        with self._archive.database.read() as connection:
            found = connection.execute(chosen.where(sa.or_(holds.c.subject == subject, on_event))).all()
        if found:
            listed = "; ".join(f"{row.id}: {row.reason}" for row in found)
            raise SubjectHeld(
                f"legal holds forbid this ({listed}); nothing was erased. If they have ended: "
                "`moderator archive hold release`"
            )

    def _find(self, subject: str) -> Holdings:
        c = verdicts.c
        chosen = sa.select(c.id, c.source, c.event_id, c.image_sha256).where(c.subject == subject)
        with self._archive.database.read() as connection:
            rows = connection.execute(chosen).all()
        images = frozenset(row.image_sha256 for row in rows if row.image_sha256 is not None)
        events = frozenset((row.source, row.event_id) for row in rows)
        return Holdings(frozenset(row.id for row in rows), Sought(subject, events, images))

    def _count(self, target: Holdings) -> dict[str, int]:
        """Return what the archive holds, by table, and in segments."""
        counts = {"archived verdicts": 0, "archived evidence": 0, "archived flags": 0, "segments": 0}
        if not target.ids:
            return counts
        columns = {
            "archived verdicts": verdicts.c.id,
            "archived evidence": evidence.c.verdict_id,
            "archived flags": flags.c.verdict_id,
        }
        with self._archive.database.read() as connection:
            for store, column in columns.items():
                for part in in_parts(sorted(target.ids)):
                    chosen = sa.select(sa.func.count()).where(column.in_(part))
                    counts[store] += connection.execute(chosen).scalar_one()
            listed = list_segments(connection)
        for segment in listed:
            if any(segment.first_verdict_id <= id <= segment.last_verdict_id for id in target.ids):
                found = read_verdict_ids(path_of(self._archive, segment)).tolist()
                counts["segments"] += len(target.ids.intersection(found))
        return counts

    def _count_shared(self, sought: Sought) -> int:
        c = verdicts.c.image_sha256
        with self._archive.database.read() as connection:
            return sum(
                connection.execute(sa.select(sa.func.count(c.distinct())).where(c.in_(part))).scalar_one()
                for part in in_parts(sorted(sought.images))
            )


def _checked(subject: str) -> str:
    kept = subject_text(subject)
    if kept is None:
        raise ArchiveFilterInvalid("name a subject: what events have in metadata.subject")
    return kept
