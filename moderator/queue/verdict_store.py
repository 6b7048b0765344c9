"""Verdicts as others read them: by event, and as a stream."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError
from redis.exceptions import ResponseError

from moderator.errors import VerdictsMissed, VerdictTimeout, VerdictUnreadable
from moderator.events import bulk_image_key
from moderator.queue import names
from moderator.queue.connection import Redis
from moderator.queue.consumer import BLOCK, READ_SIZE, TAKE_OVER_AFTER, Consumer
from moderator.queue.stream import entries_of, missed_between, next_id, read_verdict, split_id
from moderator.verdicts import Verdict

log = logging.getLogger(__name__)


class VerdictStore:
    """The verdicts in one Redis."""

    def __init__(self, client: Redis) -> None:
        self._redis = client

    def get(self, event_key: str) -> Verdict | None:
        """The verdict of an event (`Event.key`), or None if there is none (yet, or any more).

        An image of a bulk event is also found by its id, where no single event of that id has a verdict.

        Raises:
            VerdictUnreadable: there is one that this version cannot read.
        """
        keys = (event_key, bulk_image_key(event_key))
        found = self._redis.mget([names.VERDICT_PREFIX + key for key in keys if key is not None])
        data = next((value for value in found if value is not None), None)
        try:
            return None if data is None else Verdict.model_validate_json(data)
        except ValidationError as error:
            raise VerdictUnreadable(
                f"the verdict of {event_key} was written by another version of the service "
                f"({str(error).splitlines()[0]}); update this one"
            ) from error

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

    def tail(
        self, after: str, *, follow: bool = True, on_gap: Callable[[VerdictsMissed], object] | None = None
    ) -> Iterator[tuple[str, Verdict]]:
        """Verdicts from the stream after an entry id (`position()`: from now on, `0`: all that is kept).

        Yields the entry id, to go on from later, and the verdict. Ends at the end unless `follow`. Entries that are no
        verdicts are logged and skipped.

        Raises:
            VerdictsMissed: what comes next after that id was trimmed, and there is no `on_gap` to call with the error.
                Read on from its `end`.
        """
        last = after
        while True:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.xinfo_stream(names.VERDICTS)
                pipe.xread({names.VERDICTS: last}, count=READ_SIZE)
                info, answer = pipe.execute(raise_on_error=False)
            if isinstance(answer, ResponseError):
                raise answer
            if (gap := _gap(last, info)) is not None:
                log.warning("%s", gap)
                if on_gap is None:
                    raise gap
                on_gap(gap)
            entries = entries_of(answer)
            if not entries:
                if not follow:
                    return
                entries = entries_of(
                    self._redis.xread({names.VERDICTS: last}, count=READ_SIZE, block=round(BLOCK * 1000))
                )
            for entry, fields in entries:
                last = entry
                if (verdict := read_verdict(entry, fields)) is not None:
                    yield entry, verdict

    def newest(self, count: int) -> list[Verdict]:
        """The latest verdicts, oldest of them first; entries that are no verdicts are logged and left out."""
        entries = self._redis.xrevrange(names.VERDICTS, count=count)
        read = (read_verdict(entry.decode(), fields) for entry, fields in reversed(entries))
        return [verdict for verdict in read if verdict is not None]

    def consume(
        self,
        group: str,
        consumer: str,
        *,
        idle: float = TAKE_OVER_AFTER,
        on_gap: Callable[[VerdictsMissed], object] | None = None,
    ) -> Iterator[Verdict]:
        """Verdicts as one of a group of consumers: each goes to one of them, at least once.

        A verdict is acknowledged when the next one is asked for, so what a consumer had in hand when it died
        is given to it again: it starts with its own unacknowledged ones. Then it takes over what other consumers
        have not touched for `idle` seconds, which is how the verdicts of one that never comes back, or comes back
        under another name, find a reader; then come new ones. A new group starts with all that the stream keeps.

        What a consumer has been given is touched whenever it asks for the next one, so a slow consumer keeps it for as
        long as it takes less than `idle` seconds for one verdict. Entries that are no verdicts are logged,
        acknowledged and skipped.

        Args:
            group: each group gets all verdicts.
            consumer: a name that no other of the group has at the same time.
            idle: seconds; longer than handling one verdict ever takes.
            on_gap: called with the error in place of raising it; reading goes on after it.

        Raises:
            VerdictsMissed: verdicts were trimmed before the group had read them. Raised once; consume again to go on
                with the oldest that is kept.
        """
        return Consumer(self._redis, group, consumer, idle, on_gap).verdicts()


def _gap(last: str, info: Any) -> VerdictsMissed | None:
    """What was trimmed after an entry, by what the server says of the stream; None if nothing was.

    How many they are is not known: the server counts for groups.
    """
    if isinstance(info, ResponseError) or not info["length"] or last in ("0", "0-0", "$"):
        return None
    first = info["first-entry"][0].decode()
    # Before version 7, what was ever added is not counted.
    untouched = info.get("entries-added") == info["length"]
    if untouched or split_id(next_id(last)) >= split_id(first):
        return None
    return missed_between(last, first, None, "they were read here")
