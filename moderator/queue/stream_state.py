"""The progress of the groups that read the verdict stream, and how far it may be trimmed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from moderator.queue import keys
from moderator.queue.connection import Redis
from moderator.queue.stream import LAST_NUMBER, next_id, split_id

#: After all entries.
AFTER_ALL_ENTRIES = f"{LAST_NUMBER}-{LAST_NUMBER}"
#: Most entries trimmed in one step: limits how long Redis is busy.
TRIM_ENTRIES_MAX = 50_000


@dataclass(frozen=True)
class GroupState:
    """The progress of a group of readers."""

    name: str
    lag: int | None
    """Verdicts kept but not yet delivered to the group; None if the server does not count them."""
    pending: int
    """Verdicts delivered to a reader of the group and not acknowledged."""
    missed: int
    """Verdicts trimmed before they were delivered to the group; 0 once it reads on."""
    oldest_age: float
    """Age in seconds of the oldest verdict that the group did not acknowledge, delivered or not; 0 for none."""
    needs: str
    """Id of that verdict, or of the next one."""


@dataclass(frozen=True)
class StreamState:
    """A snapshot of the stream."""

    length: int
    groups: tuple[GroupState, ...] = ()


def read_stream(client: Redis) -> StreamState:
    """Return the length of the stream and the progress of its groups."""
    with client.pipeline(transaction=True) as pipe:
        pipe.time()
        pipe.xinfo_stream(keys.VERDICTS)
        pipe.xinfo_groups(keys.VERDICTS)
        answers = pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception):
            if "no such key" in str(answer):
                return StreamState(0)
            raise answer
    (seconds, micros), info, groups = answers
    with client.pipeline(transaction=False) as pipe:
        for group in groups:
            pipe.xpending(keys.VERDICTS, group["name"])
            pipe.xrange(keys.VERDICTS, min="(" + group["last-delivered-id"].decode(), count=1)
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
    if passed:  # all entries kept, and maybe more
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
    """Trim the stream to about `length` entries, keeping those that a group still needs; return how many went.

    Publishing limits how many can be kept: a group that never reads on does not fill the memory.
    """
    if client.xlen(keys.VERDICTS) <= length:
        return 0
    state = read_stream(client)
    needed = min((group.needs for group in state.groups), key=split_id, default=AFTER_ALL_ENTRIES)
    excess = min(state.length - length, TRIM_ENTRIES_MAX)
    if excess <= 0:
        return 0
    # Approximate, so that whole nodes go at once: never more than `excess`, never needed entries.
    return int(client.xtrim(keys.VERDICTS, minid=needed, approximate=True, limit=excess))
