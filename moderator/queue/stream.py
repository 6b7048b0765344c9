"""The verdict stream: its entries, and what a reader missed. Pure.

An entry's id is the Redis server's time in milliseconds when it was added, and a number: `1700000000000-0`.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from moderator.errors import VerdictsMissed
from moderator.queue import keys
from moderator.verdicts import Verdict

log = logging.getLogger(__name__)

LAST_NUMBER = 2**64 - 1
#: Most entries in one read of the stream.
READ_ENTRIES_MAX = 100
#: Seconds of one blocking read: a reader notices within this time that it should stop.
READ_SECONDS = 1.0

Entry = tuple[str, dict[bytes, bytes]]


@dataclass(frozen=True)
class StreamPage:
    """The next entries of the stream, and the gap before them if unread ones were trimmed."""

    entries: list[Entry]
    gap: VerdictsMissed | None


def split_id(entry: str) -> tuple[int, int]:
    """Return the time and number of an entry id; the number is optional.

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
    return f"{ms + 1}-0" if number == LAST_NUMBER else f"{ms}-{number + 1}"


def previous_id(entry: str) -> str:
    """Return the largest id before an entry's."""
    ms, number = split_id(entry)
    return f"{ms}-{number - 1}" if number else f"{ms - 1}-{LAST_NUMBER}"


def missed_between(last: str, first: str, count: int | None, before: str) -> VerdictsMissed:
    """Return the error for verdicts trimmed between the last entry read and the oldest one kept."""
    return missed(next_id(last), previous_id(first), count, before)


def missed(start: str, end: str, count: int | None, before: str) -> VerdictsMissed:
    """Return the error for verdicts from one id to another that left the stream `before` something."""
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


def report(gap: VerdictsMissed | None, on_gap: Callable[[VerdictsMissed], object] | None) -> None:
    """Log verdicts that a reader missed, and pass them to `on_gap`.

    Raises:
        VerdictsMissed: the gap, if there is no `on_gap`.
    """
    if gap is None:
        return
    log.warning("%s", gap)
    if on_gap is None:
        raise gap
    on_gap(gap)


def entries_of(answer: Any) -> list[Entry]:
    """Return the entries of an XREAD answer in either protocol: RESP2 gives a list of streams, RESP3 a dict.

    An entry without fields was trimmed after a reader had received it.
    """
    streams = answer.values() if isinstance(answer, dict) else (entries for _, entries in answer or ())
    found: list[Entry] = []
    for entries in streams:
        batch = entries[0] if entries and isinstance(entries[0], list) else entries
        found += [(entry.decode(), fields or {}) for entry, fields in batch]
    return found


def read_page(after: str, answer: list[Any]) -> StreamPage:
    """Read the answer of `read_on.lua` for a reader that has read up to `after`."""
    length, first, added, found = answer
    entries = [(entry.decode(), dict(zip(fields[::2], fields[1::2], strict=True))) for entry, fields in found]
    if not length or after in ("0", "0-0", "$"):
        return StreamPage(entries, None)
    first = first.decode()
    untouched = added == length  # nothing was ever trimmed
    if untouched or split_id(next_id(after)) >= split_id(first):
        return StreamPage(entries, None)
    # Their number is unknown: the server counts only for groups.
    return StreamPage(entries, missed_between(after, first, None, "they were read here"))


def read_verdicts(entries: Iterable[Entry]) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdicts of entries with their ids, skipping entries that are no verdicts. See `read_verdict`."""
    for entry, fields in entries:
        if (verdict := read_verdict(entry, fields)) is not None:
            yield entry, verdict


def read_verdict(entry: str, fields: dict[bytes, bytes]) -> Verdict | None:
    """Return the verdict of an entry, or None (logged) if this version cannot read it."""
    try:
        return Verdict.model_validate_json(fields[b"verdict"])
    except (KeyError, ValidationError) as error:
        reason = "it has no field `verdict`" if isinstance(error, KeyError) else str(error).splitlines()[0]
        log.warning("entry %s of the stream %s is skipped: %s", entry, keys.VERDICTS, reason)
        return None
