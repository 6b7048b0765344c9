"""Delete verdicts that have been kept for long enough. Legal holds come first."""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from moderator.archive.archive_store import Archive
from moderator.archive.holds import is_held
from moderator.archive.segments import drop_from_segments, finish_begun, in_parts
from moderator.archive.tables import evidence, flags, verdicts
from moderator.verdicts import Decision

#: Verdicts deleted under one hold of the lock.
DELETED_VERDICTS_MAX = 100_000


def count_expired(
    archive: Archive, days: Mapping[Decision, int], now: datetime | None = None
) -> Counter[str]:
    """Return how many verdicts `retain` would delete, by decision."""
    chosen = sa.select(verdicts.c.decision, sa.func.count()).where(_expired(days, now))
    with archive.database.read() as connection:
        return Counter({row[0]: row[1] for row in connection.execute(chosen.group_by(verdicts.c.decision))})


def retain(
    archive: Archive, days: Mapping[Decision, int], now: datetime | None = None, *, wait: bool = True
) -> Counter[str]:
    """Delete verdicts of whole days that are older than allowed; return how many, by decision.

    Whole days, so that a segment is rewritten once for each decision.

    Args:
        archive: the archive.
        days: kept, by decision; others are kept for good.
        now: the time, for tests.
        wait: for another process that moves or deletes evidence; without, nothing is deleted then.
    """
    gone: Counter[str] = Counter()
    while days:
        with archive.database.exclusive(wait=wait) as held:
            if not held:
                break
            finish_begun(archive)
            with archive.database.read() as connection:
                chosen = sa.select(verdicts.c.id, verdicts.c.decision).where(_expired(days, now))
                found = connection.execute(chosen.order_by(verdicts.c.id).limit(DELETED_VERDICTS_MAX)).all()
            if not found:
                break
            delete_verdicts(archive, [row.id for row in found])
            gone += Counter(row.decision for row in found)
    return gone


def delete_verdicts(archive: Archive, ids: Collection[int]) -> int:
    """Delete verdicts, with all that belongs to them; return how many segments were rewritten. Needs the lock.

    Segments go first: after a crash, the rows still say what has to go.
    """
    rewritten = drop_from_segments(archive, ids)
    with archive.database.write() as connection:
        for part in in_parts(sorted(ids)):
            connection.execute(sa.delete(evidence).where(evidence.c.verdict_id.in_(part)))
            connection.execute(sa.delete(flags).where(flags.c.verdict_id.in_(part)))
            connection.execute(sa.delete(verdicts).where(verdicts.c.id.in_(part)))
    return rewritten


def _expired(days: Mapping[Decision, int], now: datetime | None) -> sa.ColumnElement[bool]:
    today = (now or datetime.now(UTC)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    old = [
        sa.and_(verdicts.c.decision == decision.value, verdicts.c.decided_at < today - timedelta(days=count))
        for decision, count in days.items()
    ]
    return sa.and_(sa.or_(sa.false(), *old), ~is_held())
