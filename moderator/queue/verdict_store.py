"""Verdicts as others read them: by event, and as a stream."""

import time
from collections.abc import Iterator

from redis.exceptions import ResponseError

from moderator.errors import VerdictTimeout
from moderator.queue import names
from moderator.queue.connection import Redis
from moderator.verdicts import Verdict

#: Seconds that one blocking read lasts; a reader notices within it that it should stop.
BLOCK = 1.0
#: Entries taken from the stream in one read.
READ_SIZE = 100


class VerdictStore:
    """The verdicts in one Redis."""

    def __init__(self, client: Redis) -> None:
        self._redis = client

    def get(self, event_key: str) -> Verdict | None:
        """The verdict of an event (`Event.key`), or None if there is none (yet, or any more)."""
        data = self._redis.get(names.VERDICT_PREFIX + event_key)
        return None if data is None else Verdict.model_validate_json(data)

    def wait(self, event_key: str, timeout: float) -> Verdict:
        """Wait for an event's verdict.

        Raises:
            VerdictTimeout: none arrived within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._redis.pubsub(ignore_subscribe_messages=False) as channel:
            channel.subscribe(names.VERDICT_PREFIX + event_key)
            while True:
                # Looked up after each wake-up, the first of which is our own subscription taking effect: an
                # answer from before it is found here, one from after it wakes us. Also without one: a server that
                # hangs wakes nobody, and does not answer the question either.
                left = deadline - time.monotonic()
                channel.get_message(timeout=max(0.0, min(left, BLOCK)))
                if (verdict := self.get(event_key)) is not None:
                    return verdict
                if left <= 0:
                    raise VerdictTimeout(
                        f"no verdict for {event_key} after {timeout:g} s; is a worker running on this Redis? "
                        "`moderator verdicts show` finds it later"
                    )

    def position(self) -> str:
        """The id of the newest entry, to `tail` from."""
        newest = self._redis.xrevrange(names.VERDICTS, count=1)
        return newest[0][0].decode() if newest else "0"

    def tail(self, after: str, *, follow: bool = True) -> Iterator[tuple[str, Verdict]]:
        """Verdicts from the stream after an entry id (`position()`: from now on, `0`: all that is kept).

        Yields the entry id, to go on from later, and the verdict. Ends at the end unless `follow`.
        """
        last = after
        while True:
            block = round(BLOCK * 1000) if follow else None
            answer = self._redis.xread({names.VERDICTS: last}, count=READ_SIZE, block=block)
            if not answer and not follow:
                return
            for entry, fields in _entries(answer):
                last = entry
                yield entry, Verdict.model_validate_json(fields[b"verdict"])

    def newest(self, count: int) -> list[Verdict]:
        """The latest verdicts, oldest of them first."""
        entries = self._redis.xrevrange(names.VERDICTS, count=count)
        return [Verdict.model_validate_json(fields[b"verdict"]) for _, fields in reversed(entries)]

    def consume(self, group: str, consumer: str) -> Iterator[Verdict]:
        """Verdicts as one of a group of consumers: each goes to one of them.

        A verdict is acknowledged when the next one is asked for, so what a consumer had in hand when it died
        is given to it again: it starts with its own unacknowledged ones. A new group starts with all that the
        stream keeps.
        """
        try:
            self._redis.xgroup_create(names.VERDICTS, group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        position = "0"
        while True:
            answer = self._redis.xreadgroup(
                group, consumer, {names.VERDICTS: position}, count=READ_SIZE, block=round(BLOCK * 1000)
            )
            entries = list(_entries(answer))
            # Back to our own ones whenever nothing is new: a broken connection can lose an answer on its way,
            # and what stood in it counts as given to us.
            if not entries:
                position = ">" if position == "0" else "0"
            for entry, fields in entries:
                # An entry may have been trimmed while it was in hand.
                if fields:
                    yield Verdict.model_validate_json(fields[b"verdict"])
                self._redis.xack(names.VERDICTS, group, entry)


def _entries(answer: object) -> Iterator[tuple[str, dict[bytes, bytes]]]:
    """Entries of an XREAD answer in either protocol: RESP2 gives a list of streams, RESP3 a dict."""
    if not answer:
        return
    streams = answer.values() if isinstance(answer, dict) else (entries for _, entries in answer)  # type: ignore[attr-defined]
    for entries in streams:
        batch = entries[0] if entries and isinstance(entries[0], list) else entries
        for entry, fields in batch:
            yield entry.decode(), fields or {}
