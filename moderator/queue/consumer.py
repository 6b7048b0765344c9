"""One reader of a group: it reads its own unfinished verdicts, then those that others left behind, then new ones.

Asking for the next verdict acknowledges the last one. Until then the server counts it as pending for this reader and
delivers it again: to the same reader after a restart under its name, otherwise to another of the group once the
verdict has been idle for a while.
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

#: Seconds after which a reader's untouched pending verdicts go to another one.
TAKE_OVER_AFTER_SECONDS = 300.0
#: Seconds without activity after which a reader with nothing pending is deleted.
FORGET_AFTER_SECONDS = 86_400.0


class Consumer:
    """One reader.

    Args:
        client: connection.
        group: group of readers.
        name: of this reader within the group.
        idle: seconds after which to take over verdicts that other readers hold and have not touched.
        on_gap: called with the error for verdicts trimmed before they were read; None: `VerdictsMissed` is raised.
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
        """Yield verdicts without end.

        Asking for the next verdict acknowledges the last one, so a consumer that died gets the verdict in flight again:
        it starts with its own unacknowledged ones. Then it takes over verdicts that other consumers have not touched
        for `idle` seconds, such as those of one that never comes back, or comes back under another name; then come new
        ones. A new group starts with all that the stream keeps.

        Asking for the next verdict also touches the rest of the batch, so a slow consumer keeps it as long as it takes
        less than `idle` seconds for one verdict. Entries that are no verdicts are logged, acknowledged and skipped.

        Raises:
            VerdictsMissed: verdicts were trimmed before the group had read them, and there is no `on_gap`. Raised once;
                consume again to go on with the oldest one kept.
        """
        self._report_gap(self._join(keys=[keys.VERDICTS], args=[self._group]))
        while True:
            try:
                hand = deque(self._next_batch())
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                # Redis lost the stream, or an operator deleted the group.
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
        # Return to our own ones whenever nothing is new: a broken connection can lose an answer on its way, but
        # its entries count as ours.
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
        # These entries are ours by now: if the gap is raised, they are the first to be read afterwards.
        self._report_gap(gap)
        # With nothing left to read there can be no gap, so waiting needs no such check.
        return entries_of(answer) or self._read(">", block=round(READ_SECONDS * 1000))

    def _take_over(self) -> list[Entry]:
        """Scan a part of the entries pending for others, from time to time, and take over the idle ones."""
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
        # Before version 7, a trimmed entry has no id here; reading our own entries finds it.
        left = [(entry.decode(), fields or {}) for entry, fields in entries if entry is not None]
        left += [(entry.decode(), {}) for entry in (trimmed[0] if trimmed else ())]
        if left:
            log.info(
                "%s of %s takes over %d verdicts left by other readers", self._name, self._group, len(left)
            )
        return left

    def _without_trimmed(self, hand: deque[Entry]) -> deque[Entry]:
        """Return the entries of a batch that still exist; the rest were trimmed before their reader finished them."""
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
        """Touch our entries from time to time, so that others leave them; drop those taken all the same."""
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
