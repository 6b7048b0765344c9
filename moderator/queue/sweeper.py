"""Looks after events that are overdue: puts them on the queue again, or ends what cannot go on.

One that cannot be read, or cannot be put back, holds up no other.
"""

import logging
from collections.abc import Callable, Mapping

from pydantic import ValidationError
from redis.exceptions import RedisError

from moderator.errors import AttemptsExhausted, ModeratorError, RecordUnreadable
from moderator.events import Event, split_key
from moderator.queue import names
from moderator.queue.connection import Redis
from moderator.queue.message import encode_message
from moderator.queue.outbox import NO_SUBSCRIPTIONS, Subscriptions
from moderator.queue.records import DeadLetterReason, Publication, to_record
from moderator.queue.scripts import Script
from moderator.verdicts import Decision, ErrorFacts, Verdict

log = logging.getLogger(__name__)

#: Overdue events looked at in one step: bounds the time that Redis is busy with it.
SWEEP_SIZE = 500
#: How often an event is put on the queue without being claimed. What waits on the queue is not put there again, so
#: only events that workers take and lose count up, and a claim starts the count again.
MAX_DELIVERIES = 10


class Sweeper:
    """The overdue events of the ledger in one Redis.

    Args:
        client: connection.
        lease: seconds after which an event that was put on the queue is looked at again.
        subscriptions: the consumers for which verdicts go into the outbox, besides webhooks.
    """

    def __init__(self, client: Redis, lease: float, subscriptions: Subscriptions = NO_SUBSCRIPTIONS) -> None:
        self._redis = client
        self._subscriptions = subscriptions
        self._lease = lease
        self._overdue, self._requeue, self._publish = (
            Script(client, name) for name in ("overdue", "requeue", "publish")
        )

    def sweep(
        self,
        oldest: Mapping[str, float | None],
        told: Callable[[Verdict, float, ModeratorError], None],
        *,
        ttl: float,
        stream_length: int,
    ) -> int:
        """Put overdue events that are not on the queue back on it; returns how many. Safe from many workers.

        Args:
            oldest: when the oldest message on each queue was put there; None: it is empty.
            told: called with the `error` verdict of each event that ends here as a dead letter, the seconds since it
                was accepted, and why: it was put on the queue time and again and never claimed, or its record cannot
                be read.
            ttl: seconds that such a verdict is kept.
            stream_length: about how many verdicts the stream keeps.
        """
        places = [part for queue, at in oldest.items() for part in (queue, "" if at is None else at)]
        found = self._overdue(
            [names.PENDING, names.PENDING_BYTES],
            [names.RECORD_PREFIX, names.VERDICT_PREFIX, self._lease, SWEEP_SIZE, MAX_DELIVERIES, *places],
        )
        count = 0
        for member, due, queue, what in zip(found[::4], found[1::4], found[2::4], found[3::4], strict=True):
            try:
                key = member.decode()
                event = None if what == b"unreadable" else self._read(key)
                if event is not None and what == b"lost":
                    count += self._put_back(event, key, due, queue.decode())
                else:
                    self._end(key, event, due, told, ttl, stream_length)
            except (RedisError, ModeratorError, UnicodeError) as error:
                log.error("%r is overdue and cannot be put back: %s", member, error)
                self._postpone(member)
        return count

    def _read(self, key: str) -> Event | None:
        """The event of a record, or None where it cannot be read."""
        try:
            return Event.model_validate_json(self._redis.hget(names.RECORD_PREFIX + key, "event") or b"")
        except ValidationError:
            return None

    def _put_back(self, event: Event, key: str, due: bytes, queue: str) -> int:
        body = event.model_dump(mode="json", exclude_none=True)
        keys = [names.PENDING, names.RECORD_PREFIX + key, queue]
        return int(self._requeue(keys, [key, due, encode_message(body, queue), self._lease]))

    def _end(
        self,
        key: str,
        event: Event | None,
        due: bytes,
        told: Callable[[Verdict, float, ModeratorError], None],
        ttl: float,
        stream_length: int,
    ) -> None:
        """Close an event with an `error` verdict and a dead letter, unless somebody was quicker."""
        error: ModeratorError
        if event is None:
            error = RecordUnreadable("what the ledger keeps of this event cannot be read; submit it again")
        else:
            error = AttemptsExhausted(
                f"delivered {MAX_DELIVERIES} times and never claimed: each time it was lost before a worker could "
                "begin; the workers' logs say why. Replay it when that has ended"
            )
        dead = DeadLetterReason(type(error).__name__, str(error))
        source, id, bulk = split_key(key) if event is None else (event.source, event.id, event.bulk)
        verdict = Verdict(
            event_id=id,
            source=source,
            bulk=bulk,
            decision=Decision.ERROR,
            is_safe=False,
            error=ErrorFacts(type=dead.type, message=dead.message),
            metadata=event.metadata if event is not None else {},
        )
        record = names.RECORD_PREFIX + key
        kept = Publication(
            key,
            verdict,
            dead,
            to_record(event) if event is not None else self._raw(key),
            (event.reply.webhook or "") if event is not None else "",
            due=due.decode(),
            known=event is None or self._redis.hexists(record, "version"),
        )
        done = self._publish(*kept.call(ttl, stream_length, self._subscriptions))
        if done[0]:
            log.error("event %s: dead letter: %s: %s", key, dead.type, dead.message)
            told(verdict, float(done[1]), error)

    def _raw(self, key: str) -> str:
        """What can be kept of a record that cannot be read."""
        record = names.RECORD_PREFIX + key
        kind = self._redis.type(record).decode()
        raw = self._redis.hget(record, "event") if kind == "hash" else None
        return f"a {kind}" if raw is None else raw.decode(errors="replace")

    def _postpone(self, member: bytes) -> None:
        """Look at something again later, so that it does not stand before what comes behind it."""
        seconds, micros = self._redis.time()
        self._redis.zadd(names.PENDING, {member: seconds + micros / 1e6 + self._lease}, xx=True)
