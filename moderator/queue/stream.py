"""The stream of verdicts: its entries, and what a reader missed. Pure.

An entry's id is the time at which it was added (milliseconds of the Redis server) and a number: `1700000000000-0`.
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
#: Entries taken from the stream in one read.
READ_ENTRIES_MAX = 100
#: Seconds that one blocking read lasts; a reader notices within it that it should stop.
READ_SECONDS = 1.0

Entry = tuple[str, dict[bytes, bytes]]


@dataclass(frozen=True)
class StreamPage:
    """What comes next in the stream: some entries, and what was trimmed before them and not read."""

    entries: list[Entry]
    gap: VerdictsMissed | None


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
    return f"{ms + 1}-0" if number == LAST_NUMBER else f"{ms}-{number + 1}"


def previous_id(entry: str) -> str:
    """Return the largest id before an entry's."""
    ms, number = split_id(entry)
    return f"{ms}-{number - 1}" if number else f"{ms - 1}-{LAST_NUMBER}"


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


def report(gap: VerdictsMissed | None, on_gap: Callable[[VerdictsMissed], object] | None) -> None:
    """Log verdicts that a reader missed, and pass them to `on_gap`.

    Raises:
        VerdictsMissed: that gap; there is no `on_gap`.
    """
    if gap is None:
        return
    log.warning("%s", gap)
    if on_gap is None:
        raise gap
    on_gap(gap)


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
    """Return what `read_on.lua` answered to whoever has read as far as `after`."""
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


def read_verdicts(entries: Iterable[Entry]) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdicts of entries, with their ids; what is no verdict is left out. See `read_verdict`."""
    for entry, fields in entries:
        if (verdict := read_verdict(entry, fields)) is not None:
            yield entry, verdict


def read_verdict(entry: str, fields: dict[bytes, bytes]) -> Verdict | None:
    """Return the verdict of an entry, or None (logged) for what is no verdict that this version can read."""
    try:
        return Verdict.model_validate_json(fields[b"verdict"])
    except (KeyError, ValidationError) as error:
        reason = "it has no field `verdict`" if isinstance(error, KeyError) else str(error).splitlines()[0]
        log.warning("entry %s of the stream %s is skipped: %s", entry, keys.VERDICTS, reason)
        return None
