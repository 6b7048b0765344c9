"""The stream of verdicts as a whole: its entries, the groups that read it, and what may be trimmed.

An entry's id is the time at which it was added (milliseconds of the Redis server) and a number: `1700000000000-0`.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from redis.exceptions import ResponseError

from moderator.errors import VerdictsMissed
from moderator.queue import names
from moderator.queue.connection import Redis
from moderator.verdicts import Verdict

log = logging.getLogger(__name__)

_LAST_NUMBER = 2**64 - 1
#: After all entries.
END = f"{_LAST_NUMBER}-{_LAST_NUMBER}"
#: Most entries trimmed in one step: bounds the time that Redis is busy with it.
TRIM_SIZE = 50_000

#: Entries taken from the stream in one read.
READ_SIZE = 100
#: Seconds that one blocking read lasts; a reader notices within it that it should stop.
READ_SECONDS = 1.0

Entry = tuple[str, dict[bytes, bytes]]


@dataclass(frozen=True)
class StreamPage:
    """What comes next in the stream: some entries, and what was trimmed before them and not read."""

    entries: list[Entry]
    gap: VerdictsMissed | None


@dataclass(frozen=True)
class GroupState:
    """How far a group of readers is."""

    name: str
    lag: int | None
    """Verdicts kept that the group was not given yet; None where the server does not count them."""
    pending: int
    """Verdicts that a reader of the group was given and did not acknowledge."""
    missed: int
    """Verdicts trimmed before the group was given them; 0 once it reads on."""
    oldest_age: float
    """Seconds since the oldest verdict was published that the group did not acknowledge, given or not; 0 for none."""
    needs: str
    """Id of that verdict, or of the next one."""


@dataclass(frozen=True)
class StreamState:
    """The stream at one moment."""

    length: int
    groups: tuple[GroupState, ...] = ()


def split_id(entry: str) -> tuple[int, int]:
    """Return time and number of an entry id; the number may be left out.

    Raises:
        ValueError: it is no id.
    """
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", entry)
    if found is None:
        raise ValueError(f"{entry!r} is no id of a stream's entry")
    return int(found[1]), int(found[2] or 0)


def next_id(entry: str) -> str:
    """Return the smallest id after an entry's."""
    ms, number = split_id(entry)
    return f"{ms + 1}-0" if number == _LAST_NUMBER else f"{ms}-{number + 1}"


def previous_id(entry: str) -> str:
    """Return the largest id before an entry's."""
    ms, number = split_id(entry)
    return f"{ms}-{number - 1}" if number else f"{ms - 1}-{_LAST_NUMBER}"


def missed_between(last: str, first: str, count: int | None, before: str) -> VerdictsMissed:
    """Make the error for what was trimmed between the last entry that was read and the oldest that is kept."""
    return missed(next_id(last), previous_id(first), count, before)


def missed(start: str, end: str, count: int | None, before: str) -> VerdictsMissed:
    """Make the error for verdicts from one id to another that left the stream `before` something."""
    since, until = (datetime.fromtimestamp(split_id(entry)[0] / 1000, tz=UTC) for entry in (start, end))
    amount = (
        "an unknown number of verdicts"
        if count is None
        else f"{count} verdicts"
        if count != 1
        else "1 verdict"
    )
    # From 0-0: the reader had read nothing yet.
    period = (
        f"until {until:%Y-%m-%d %H:%M:%S}"
        if split_id(start)[0] == 0
        else f"{since:%Y-%m-%d %H:%M:%S} to {until:%H:%M:%S}"
    )
    return VerdictsMissed(
        f"{amount} ({start} to {end}, {period} UTC) left the stream before {before}; read on to go on "
        "with the oldest that is kept. The missed ones can be looked up by event id; to keep more for readers "
        "that are behind, raise MODERATOR_STREAM_LENGTH or MODERATOR_STREAM_LIMIT",
        start=start,
        end=end,
        count=count,
    )


def entries_of(answer: Any) -> list[Entry]:
    """Entries of an XREAD answer in either protocol: RESP2 gives a list of streams, RESP3 a dict.

    An entry without fields was trimmed after it had been given to a reader.
    """
    streams = answer.values() if isinstance(answer, dict) else (entries for _, entries in answer or ())
    found: list[Entry] = []
    for entries in streams:
        batch = entries[0] if entries and isinstance(entries[0], list) else entries
        found += [(entry.decode(), fields or {}) for entry, fields in batch]
    return found


def read_page(after: str, answer: list[Any]) -> StreamPage:
    """Return what `read_stream.lua` answered to whoever has read as far as `after`."""
    length, first, added, found = answer
    entries = [(entry.decode(), dict(zip(fields[::2], fields[1::2], strict=True))) for entry, fields in found]
    if not length or after in ("0", "0-0", "$"):
        return StreamPage(entries, None)
    first = first.decode()
    untouched = added == length  # nothing was ever trimmed
    if untouched or split_id(next_id(after)) >= split_id(first):
        return StreamPage(entries, None)
    # How many they are is not known: the server counts for groups.
    return StreamPage(entries, missed_between(after, first, None, "they were read here"))


def read_verdict(entry: str, fields: dict[bytes, bytes]) -> Verdict | None:
    """Return the verdict of an entry, or None (logged) for what is no verdict that this version can read."""
    try:
        return Verdict.model_validate_json(fields[b"verdict"])
    except (KeyError, ValidationError) as error:
        reason = "it has no field `verdict`" if isinstance(error, KeyError) else str(error).splitlines()[0]
        log.warning("entry %s of the stream %s is skipped: %s", entry, names.VERDICTS, reason)
        return None


def read_stream(client: Redis) -> StreamState:
    """Return how long the stream is, and how far its groups are."""
    with client.pipeline(transaction=True) as pipe:
        pipe.time()
        pipe.xinfo_stream(names.VERDICTS)
        pipe.xinfo_groups(names.VERDICTS)
        answers = pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception):
            if "no such key" in str(answer):
                return StreamState(0)
            raise answer
    (seconds, micros), info, groups = answers
    with client.pipeline(transaction=False) as pipe:
        for group in groups:
            pipe.xpending(names.VERDICTS, group["name"])
            pipe.xrange(names.VERDICTS, min="(" + group["last-delivered-id"].decode(), count=1)
        answers = pipe.execute(raise_on_error=False)
    now = seconds + micros / 1e6
    states = [
        _group_state(group, info, pending, unread, now)
        for group, pending, unread in zip(groups, answers[::2], answers[1::2], strict=True)
        if not isinstance(pending, ResponseError)  # deleted meanwhile
    ]
    return StreamState(info["length"], tuple(states))


def _group_state(
    group: dict[str, Any], info: dict[str, Any], pending: dict[str, Any], unread: Sequence[Any], now: float
) -> GroupState:
    last, length = group["last-delivered-id"].decode(), info["length"]
    waiting = [entry.decode() for entry in (pending["min"], *(entry for entry, _ in unread)) if entry]
    needs = min(waiting, key=split_id, default=next_id(last))
    passed = bool(length) and split_id(last) < split_id(info["first-entry"][0].decode())
    lag, missing = group.get("lag"), 0
    if passed:  # all that is kept, and maybe more
        read, added = group.get("entries-read"), info.get("entries-added")
        missing = 0 if read is None or added is None else max(0, added - length - read)
        lag = length
    elif not unread:
        lag = 0
    age = max(0.0, now - split_id(needs)[0] / 1000) if waiting else 0.0
    return GroupState(
        group["name"].decode("utf-8", "backslashreplace"), lag, pending["pending"], missing, age, needs
    )


def trim_stream(client: Redis, length: int) -> int:
    """Trim the stream to about `length` entries, but keep what a group still needs; return how many went.

    Whoever publishes bounds how many that can be: a group that never reads on does not fill the memory.
    """
    if client.xlen(names.VERDICTS) <= length:
        return 0
    state = read_stream(client)
    needed = min((group.needs for group in state.groups), key=split_id, default=END)
    excess = min(state.length - length, TRIM_SIZE)
    if excess <= 0:
        return 0
    # Approximate, so that whole nodes go at once: never more than `excess`, never what is needed.
    return int(client.xtrim(names.VERDICTS, minid=needed, approximate=True, limit=excess))
