"""Read what a day's verdicts decided, without their bodies: a few bytes for each of millions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from moderator.archive.archive_store import Archive
from moderator.archive.tables import evidence, flags, segments, verdicts
from moderator.verdicts import Decision

#: Decisions in the order of their levels. Verdicts with an error have no evidence.
LEVELS = (Decision.ALLOW, Decision.REVIEW, Decision.BLOCK)
#: About so many verdicts are read at a time: the numbers of more would be a long text.
READ_VERDICTS_MAX = 500_000
#: The facts on the image in a verdict's body begin with this, and it stands before what comes from outside; their
#: counts of frames end within so many characters.
_IMAGE, _IMAGE_CHARACTERS = '"image":{', 400
_UNSEEN = re.compile(r'"frames_unseen":[1-9]')


@dataclass(frozen=True, eq=False)
class DayDecisions:
    """The n verdicts of a day that were asked for, by their numbers."""

    ids: NDArray[np.int64]
    """[n], ascending."""
    levels: NDArray[np.int8]
    """[n] 0 allow, 1 review, 2 block."""
    unseen: NDArray[np.int64]
    """The numbers of verdicts on images of which a part was not seen, ascending; also of others."""
    errors: int
    """Verdicts with the decision `error`, which are not among them."""


def days_of(archive: Archive, since: datetime | None, until: datetime | None) -> list[date]:
    """Return the days with evidence, in order. See `read_blocks`."""
    first = None if since is None else since.astimezone(UTC).date()
    last = None if until is None else (until.astimezone(UTC) - timedelta.resolution).date()
    found: set[date] = set()
    with archive.database.read() as connection:
        for table in (segments, evidence):
            day = table.c.day
            ends = [*([] if first is None else [day >= first]), *([] if last is None else [day <= last])]
            found.update(connection.execute(sa.select(day).where(*ends).distinct()).scalars())
    return sorted(found)


def count_frames(archive: Archive, days: list[date]) -> int:
    """Return the number of embeddings of some days."""
    if not days:
        return 0
    total = 0
    with archive.database.read() as connection:
        for table in (segments, evidence):
            within = table.c.day.between(days[0], days[-1])
            total += connection.execute(sa.select(sa.func.sum(table.c.frames)).where(within)).scalar() or 0
    return total


def read_day(archive: Archive, since: datetime, until: datetime, policy: str | None = None) -> DayDecisions:
    """Return the decisions from one moment until another, of a day.

    Args:
        archive: the archive.
        since: included.
        until: not included.
        policy: name of the policy that decided; None: any.
    """
    parts: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    levels: list[NDArray[np.int8]] = [np.empty(0, np.int8)]
    unseen: list[int] = []
    errors = 0
    v = verdicts.c
    step = timedelta(days=1) / (1 + count_frames(archive, [since.date()]) // READ_VERDICTS_MAX)
    with archive.database.read() as connection:
        for begin, end in _steps(since, until, step):
            period = (v.decided_at >= begin, v.decided_at < end)
            wanted = None if policy is None else _numbers(connection, v.policy == policy, *period)
            for level, decision in enumerate((*LEVELS, Decision.ERROR)):
                ids = _numbers(connection, v.decision == decision.value, *period)
                ids = ids if wanted is None else ids[_among(ids, wanted)]
                if decision is Decision.ERROR:
                    errors += len(ids)
                    continue
                parts.append(ids)
                levels.append(np.full(len(ids), level, np.int8))
            unseen += _unseen(archive, connection, *period)
    ids = np.concatenate(parts)
    order = np.argsort(ids)
    return DayDecisions(ids[order], np.concatenate(levels)[order], np.array(sorted(unseen), np.int64), errors)


def read_flags(archive: Archive, first: int, last: int) -> Iterator[tuple[int, str, str]]:
    """Yield verdict, category and decision of the categories that reached review or block, of a range of verdicts."""
    f = flags.c
    chosen = sa.select(f.verdict_id, f.category, f.decision).where(f.verdict_id.between(first, last))
    with archive.database.read() as connection:
        yield from (tuple(row) for row in connection.execute(chosen))


def _steps(since: datetime, until: datetime, step: timedelta) -> Iterator[tuple[datetime, datetime]]:
    while since < until:
        yield since, min(since + step, until)
        since += step


def _numbers(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> NDArray[np.int64]:
    """Return numbers of verdicts. They come as one text, which is parsed many times as quickly as rows."""
    listed = sa.func.aggregate_strings(sa.cast(verdicts.c.id, sa.Text), ",")
    text = connection.execute(sa.select(listed).where(*conditions)).scalar()
    return np.array([], np.int64) if not text else np.fromstring(text, np.int64, sep=",")


def _among(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which numbers are among others."""
    if not len(wanted):
        return np.zeros(len(ids), np.bool_)
    others = np.sort(wanted)
    at = np.minimum(np.searchsorted(others, ids), len(others) - 1)
    found: NDArray[np.bool_] = others[at] == ids
    return found


def _unseen(archive: Archive, connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[int]:
    v = verdicts.c
    found = sa.func.instr if archive.database.is_sqlite else sa.func.strpos
    excerpt: Any = sa.func.substr(v.body, found(v.body, _IMAGE), _IMAGE_CHARACTERS)
    reached = v.decision.in_([decision.value for decision in LEVELS[1:]])  # what is unseen is never allowed
    rows = connection.execute(sa.select(v.id, excerpt).where(reached, *conditions)).all()
    return [id for id, text in rows if _UNSEEN.search(text)]


def day_ends(day: date, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Return the moments at which the part of a period on a day begins and ends."""
    begin = datetime.combine(day, time.min, UTC)
    end = begin + timedelta(days=1)
    return (begin if since is None else max(since, begin)), (end if until is None else min(until, end))
