"""One reader of a group: what it was given and did not finish, what others left behind, then what is new.

A verdict is acknowledged when the next one is asked for. Until then it stands at the server as given to this reader,
and comes again: to the reader itself after a restart under its name, else to another of the group once nobody has
touched it for a while.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

from redis.exceptions import ResponseError

from moderator.errors import VerdictsMissed
from moderator.queue import keys
from moderator.queue.connection import Redis
from moderator.queue.stream import (
    READ_ENTRIES_MAX,
    READ_SECONDS,
    Entry,
    entries_of,
    missed,
    missed_between,
    read_verdict,
    report,
)
from moderator.verdicts import Verdict

log = logging.getLogger(__name__)

#: Seconds after which what a reader was given and has not touched goes to another one.
TAKE_OVER_AFTER_SECONDS = 300.0
#: Seconds without a sign of life after which a reader that has nothing is deleted.
FORGET_AFTER_SECONDS = 86_400.0


class Consumer:
    """One reader.

    Args:
        client: connection.
        group: group of readers.
        name: of this one among them.
        idle: seconds after which what others were given and have not touched is taken over.
        on_gap: called with what was trimmed before it was read; without, `VerdictsMissed` is raised.
    """

    def __init__(
        self,
        client: Redis,
        group: str,
        name: str,
        idle: float = TAKE_OVER_AFTER_SECONDS,
        on_gap: Callable[[VerdictsMissed], object] | None = None,
    ) -> None:
        self._redis = client
        self._group, self._name = group, name
        self._idle = idle
        self._on_gap = on_gap
        folder = files("moderator.queue") / "lua"
        self._join = client.register_script((folder / "join_group.lua").read_text())
        self._forget = client.register_script((folder / "forget_readers.lua").read_text())
        self._own_first = True
        self._cursor, self._look_at = "0-0", 0.0
        self._renew_at = 0.0

    def verdicts(self) -> Iterator[Verdict]:
        """Verdicts without end.

        A verdict is acknowledged when the next one is asked for, so what a consumer was working on when it died
        is given to it again: it starts with its own unacknowledged ones. Then it takes over what other consumers
        have not touched for `idle` seconds, which is how the verdicts of one that never comes back, or comes back
        under another name, find a reader; then come new ones. A new group starts with all that the stream keeps.

        What a consumer has been given is touched whenever it asks for the next one, so a slow consumer keeps it for as
        long as it takes less than `idle` seconds for one verdict. Entries that are no verdicts are logged,
        acknowledged and skipped.

        Raises:
            VerdictsMissed: verdicts were trimmed before the group had read them, and there is no `on_gap`. Raised once;
                consume again to go on with the oldest that is kept.
        """
        self._report_gap(self._join(keys=[keys.VERDICTS], args=[self._group]))
        while True:
            try:
                hand = deque(self._next_batch())
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                # Redis lost the stream, or somebody deleted the group.
                log.warning("the group %s of readers is gone; it is made again", self._group)
                self._report_gap(self._join(keys=[keys.VERDICTS], args=[self._group]))
                continue
            self._renew_at = time.monotonic() + self._idle / 10
            hand = self._without_trimmed(hand)
            while hand:
                self._renew(hand)
                if not hand:
                    break
                entry, fields = hand.popleft()
                verdict = read_verdict(entry, fields)
                if verdict is not None:
                    yield verdict
                self._redis.xack(keys.VERDICTS, self._group, entry)

    def _next_batch(self) -> list[Entry]:
        if self._own_first:
            if own := self._read("0"):
                return own
            self._own_first = False
        if left := self._take_over():
            return left
        new = self._read_new()
        # Back to our own ones whenever nothing is new: a broken connection can lose an answer on its way, and what
        # stood in it counts as given to us.
        self._own_first = not new
        return new

    def _read(self, position: str, block: int | None = None) -> list[Entry]:
        answer = self._redis.xreadgroup(
            self._group, self._name, {keys.VERDICTS: position}, count=READ_ENTRIES_MAX, block=block
        )
        return entries_of(answer)

    def _read_new(self) -> list[Entry]:
        with self._redis.pipeline(transaction=True) as pipe:
            self._join(keys=[keys.VERDICTS], args=[self._group], client=pipe)
            pipe.xreadgroup(self._group, self._name, {keys.VERDICTS: ">"}, count=READ_ENTRIES_MAX)
            gap, answer = pipe.execute()
        # What came with it is ours by now: where the gap is raised, it is the first to be read after that.
        self._report_gap(gap)
        # With nothing left to read there can be no gap, so waiting needs no such look.
        return entries_of(answer) or self._read(">", block=round(READ_SECONDS * 1000))

    def _take_over(self) -> list[Entry]:
        """A step through what is given to others, from time to time: of those entries, the ones left lying."""
        if self._cursor == "0-0":
            if time.monotonic() < self._look_at:
                return []
            self._look_at = time.monotonic() + self._idle / 4
        cursor, entries, *trimmed = self._redis.xautoclaim(
            keys.VERDICTS,
            self._group,
            self._name,
            min_idle_time=round(self._idle * 1000),
            start_id=self._cursor,
            count=READ_ENTRIES_MAX,
        )
        self._cursor = cursor.decode()
        if self._cursor == "0-0":
            self._forget(keys=[keys.VERDICTS], args=[self._group, FORGET_AFTER_SECONDS])
        # Before version 7, a trimmed one has no id here; it is found when our own ones are read.
        left = [(entry.decode(), fields or {}) for entry, fields in entries if entry is not None]
        left += [(entry.decode(), {}) for entry in (trimmed[0] if trimmed else ())]
        if left:
            log.info(
                "%s of %s takes over %d verdicts left by other readers", self._name, self._group, len(left)
            )
        return left

    def _without_trimmed(self, hand: deque[Entry]) -> deque[Entry]:
        """What of a batch still exists; the rest was given to a reader and trimmed before it was finished."""
        trimmed = [entry for entry, fields in hand if not fields]
        if not trimmed:
            return hand
        self._redis.xack(keys.VERDICTS, self._group, *trimmed)
        report(
            missed(trimmed[0], trimmed[-1], len(trimmed), f"a reader of {self._group} finished them"),
            self._on_gap,
        )
        return deque((entry, fields) for entry, fields in hand if fields)

    def _renew(self, hand: deque[Entry]) -> None:
        """Touch what we have from time to time, so that others leave it; drop what one of them took all the same."""
        if time.monotonic() < self._renew_at:
            return
        ours = self._redis.xpending_range(
            keys.VERDICTS, self._group, hand[0][0], hand[-1][0], len(hand), consumername=self._name
        )
        ids = {item["message_id"].decode() for item in ours}
        for item in [item for item in hand if item[0] not in ids]:
            hand.remove(item)
        if hand:
            touched = [entry for entry, _ in hand]
            self._redis.xclaim(keys.VERDICTS, self._group, self._name, 0, touched, justid=True)
        self._renew_at = time.monotonic() + self._idle / 10

    def _report_gap(self, gap: list[Any]) -> None:
        if gap:
            last, first, count = (part.decode() if isinstance(part, bytes) else part for part in gap)
            known = int(count) if count != "" else None
            report(missed_between(last, first, known, f"the group {self._group} read them"), self._on_gap)
