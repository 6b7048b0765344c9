"""Read what a day's verdicts decided, without their bodies: a few bytes for each of millions."""

import re
from collections import defaultdict
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
Numbers = NDArray[np.int64]
NO_NUMBERS: Numbers = np.empty(0, dtype=np.int64)
#: About so many verdicts are read at a time: the numbers of more would be a long text.
READ_VERDICTS_MAX = 500_000
#: The facts on the image in a verdict's body begin with this, and it stands before what comes from outside; their
#: counts of frames end within so many characters.
_IMAGE, _IMAGE_CHARACTERS = '"image":{', 400
_UNSEEN = re.compile(r'"frames_unseen":(\d+)')


@dataclass(frozen=True, eq=False)
class DayDecisions:
    """The verdicts of a day that were asked for. Most allow an image: these are not listed."""

    count: int
    """Verdicts, without those with the decision `error`."""
    errors: int
    """Verdicts with that decision."""
    reached: tuple[Numbers, Numbers]
    """Numbers of verdicts with the decisions review and block, each ascending; also of verdicts not asked for."""
    unseen: Numbers
    """Numbers of verdicts on images of which a part was not seen, ascending; likewise."""
    only: Numbers | None
    """Numbers of the verdicts that were asked for, ascending; None: all but `without`."""
    without: Numbers


@dataclass(frozen=True)
class DecidedBy:
    """Which verdicts to ask for: those that one policy decided, or all."""

    policy: str | None
    others: tuple[str | None, ...] | None
    """All other policies of the archive if they have decided less; None: they have not."""


def decided_by(archive: Archive, policy: str | None) -> DecidedBy:
    """Return how to ask for the verdicts of a policy; None: of any."""
    c = verdicts.c.policy
    if policy is None:
        return DecidedBy(None, ())
    with archive.database.read() as connection:
        rows = connection.execute(sa.select(c, sa.func.count()).group_by(c)).all()
    counts: dict[str | None, int] = dict(tuple(row) for row in rows)
    others = {name: count for name, count in counts.items() if name != policy}
    fewer = sum(others.values()) < counts.get(policy, 0)
    return DecidedBy(policy, tuple(others) if fewer else None)


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


def read_day(archive: Archive, since: datetime, until: datetime, asked: DecidedBy) -> DayDecisions:
    """Return the decisions from one moment until another, of a day.

    Args:
        archive: the archive.
        since: included.
        until: not included.
        asked: which verdicts.
    """
    v = verdicts.c
    step = timedelta(days=1) / (1 + count_frames(archive, [since.date()]) // READ_VERDICTS_MAX)
    found: defaultdict[str, list[Numbers]] = defaultdict(list)
    total = 0
    named = () if asked.policy is None else (v.policy == asked.policy,)
    with archive.database.read() as connection:
        for begin, end in _steps(since, until, step):
            period = (v.decided_at >= begin, v.decided_at < end)
            total += connection.execute(sa.select(sa.func.count()).where(*period, *named)).scalar_one()
            for decision in (Decision.REVIEW, Decision.BLOCK, Decision.ERROR):
                found[decision].append(_numbers(connection, v.decision == decision.value, *period))
            if asked.others is None:
                found["only"].append(_numbers(connection, *named, *period))
            for other in asked.others or ():
                found["without"].append(_numbers(connection, v.policy.is_not_distinct_from(other), *period))
            found["unseen"].append(np.array(_unseen(archive, connection, *period), np.int64))
    numbers = {name: np.sort(np.concatenate([NO_NUMBERS, *parts])) for name, parts in found.items()}
    without = numbers.get("without", NO_NUMBERS)
    only = numbers.get("only", NO_NUMBERS) if asked.others is None else None
    failed = numbers.get(Decision.ERROR, NO_NUMBERS)
    errors = len(failed) - among(failed, without).sum() if only is None else among(failed, only).sum()
    return DayDecisions(
        total - int(errors),
        int(errors),
        (numbers.get(Decision.REVIEW, NO_NUMBERS), numbers.get(Decision.BLOCK, NO_NUMBERS)),
        numbers.get("unseen", NO_NUMBERS),
        only,
        without,
    )


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


def _numbers(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Numbers:
    """Return numbers of verdicts. They come as one text, which is parsed many times as quickly as rows."""
    listed = sa.func.aggregate_strings(sa.cast(verdicts.c.id, sa.Text), ",")
    text = connection.execute(sa.select(listed).where(*conditions)).scalar()
    return np.array([], np.int64) if not text else np.fromstring(text, np.int64, sep=",")


def among(ids: Numbers, listed: Numbers) -> NDArray[np.bool_]:
    """Return which numbers are among others; both ascend. As quick as the fewer of the two."""
    found = np.zeros(len(ids), dtype=np.bool_)
    if not len(ids):
        return found
    first, last = np.searchsorted(listed, [ids[0], ids[-1] + 1])
    within = listed[first:last]
    at = np.searchsorted(ids, within)
    found[at[ids[at] == within]] = True
    return found


def _unseen(archive: Archive, connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[int]:
    v = verdicts.c
    place = sa.func.instr if archive.database.is_sqlite else sa.func.strpos
    excerpt: Any = sa.func.substr(v.body, place(v.body, _IMAGE), _IMAGE_CHARACTERS)
    reached = v.decision.in_([decision.value for decision in LEVELS[1:]])  # what is unseen is never allowed
    rows = connection.execute(sa.select(v.id, excerpt).where(reached, *conditions)).all()
    first = [(id, _UNSEEN.search(text)) for id, text in rows]  # what comes from outside may look the same
    return [id for id, found in first if found is not None and int(found[1])]


def day_ends(day: date, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Return the moments at which the part of a period on a day begins and ends."""
    begin = datetime.combine(day, time.min, UTC)
    end = begin + timedelta(days=1)
    return (begin if since is None else max(since, begin)), (end if until is None else min(until, end))
