"""Requeue overdue events, or end those that cannot go on.

An event that cannot be read or requeued does not block the others.
"""

import logging
from collections.abc import Callable, Mapping
from random import random
from typing import Any

from pydantic import ValidationError
from redis.exceptions import RedisError

from moderator.errors import AttemptsExhausted, ModeratorError, RecordUnreadable
from moderator.events import Event, split_key
from moderator.queue import commands, keys
from moderator.queue.commands import MAX_DELIVERIES
from moderator.queue.executors import Executor
from moderator.queue.records import DeadLetterReason, Publication, to_record
from moderator.queue.subscriptions import NO_SUBSCRIPTIONS, Subscriptions
from moderator.verdicts import Decision, ErrorFacts, Verdict

log = logging.getLogger(__name__)


class Sweeper:
    """The overdue events of a ledger.

    Args:
        executor: of the ledger.
        lease: seconds after which a requeued event is checked again.
        subscriptions: the consumers besides webhooks for which verdicts go into the outbox.
    """

    def __init__(
        self, executor: Executor, lease: float, subscriptions: Subscriptions = NO_SUBSCRIPTIONS
    ) -> None:
        self._executor = executor
        self._subscriptions = subscriptions
        self._lease = lease

    def sweep(
        self,
        oldest: Mapping[str, float | None],
        on_ended: Callable[[Verdict, float, ModeratorError], None],
        *,
        ttl: float,
        stream_length: int,
    ) -> int:
        """Requeue overdue events that left the queue; returns how many. Many workers may call it at once.

        Args:
            oldest: when the oldest message on each queue was put there; None: the queue is empty.
            on_ended: called with the `error` verdict of each event that ends here as a dead letter, the seconds since
                it was accepted, and the reason: it was requeued repeatedly and never claimed, or its record is
                unreadable.
            ttl: seconds to keep such a verdict.
            stream_length: approximate number of verdicts that the stream keeps.
        """
        count = 0
        for found in self._executor.run(commands.overdue(oldest, self._lease)):
            try:
                key = found.member.decode()
                event = None if found.what == "unreadable" else self._read(key)
                if event is not None and found.what == "lost":
                    spread = random()  # noqa: S311 (parts events; nothing secret)
                    count += self._executor.run(
                        commands.requeue(event, key, found.due, found.queue, self._lease, spread)
                    )
                else:
                    self._end(key, event, found.due, on_ended, ttl, stream_length)
            except (RedisError, ModeratorError, UnicodeError) as error:
                log.error("%r is overdue and cannot be put back: %s", found.member, error)
                self._postpone(found.member)
        return count

    def _read(self, key: str) -> Event | None:
        """Return the event of a record, or None if it is unreadable."""
        try:
            return Event.model_validate_json(self._ask("HGET", keys.RECORD_PREFIX + key, "event") or b"")
        except ValidationError:
            return None

    def _end(
        self,
        key: str,
        event: Event | None,
        due: bytes,
        on_ended: Callable[[Verdict, float, ModeratorError], None],
        ttl: float,
        stream_length: int,
    ) -> None:
        """Close an event with an `error` verdict and a dead letter, unless another process was quicker."""
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
            image_key=event.image.key if event is not None else None,
            image_version=event.image.version if event is not None else None,
        )
        record = keys.RECORD_PREFIX + key
        kept = Publication(
            key,
            verdict,
            dead,
            to_record(event) if event is not None else self._raw(key),
            (event.reply.webhook or "") if event is not None else "",
            due=due.decode(),
            known=event is None or bool(self._ask("HEXISTS", record, "version")),
        )
        seconds = self._executor.run(commands.publish(kept, ttl, stream_length, self._subscriptions))
        if seconds is not None:
            log.error("event %s: dead letter: %s: %s", key, dead.type, dead.message)
            on_ended(verdict, seconds, error)

    def _raw(self, key: str) -> str:
        """Return what can be kept of an unreadable record."""
        record = keys.RECORD_PREFIX + key
        kind = self._ask("TYPE", record).decode()
        raw = self._ask("HGET", record, "event") if kind == "hash" else None
        return f"a {kind}" if raw is None else raw.decode(errors="replace")

    def _postpone(self, member: bytes) -> None:
        """Check a member again later, so that it does not block those behind it."""
        seconds, micros = self._ask("TIME")
        self._ask("ZADD", keys.PENDING, "XX", seconds + micros / 1e6 + self._lease, member)

    def _ask(self, name: str, *args: Any) -> Any:
        return self._executor.run(commands.ask(name, *args, read=lambda answer: answer))
