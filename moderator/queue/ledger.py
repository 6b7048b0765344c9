"""The ledger: holds every accepted event until its verdict is published.

Celery's late acknowledgement on Redis can lose a message in the gap between its removal from the list and the note
that a worker has it. The ledger closes that gap. The queue only transports events; the ledger knows which are
unanswered, and requeues overdue events that are no longer on the queue. Retries and the events of a dead worker
come back the same way.

Each change is one Lua script, so it is atomic. Times are the Redis server's.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal
from uuid import uuid4

from moderator.errors import EventInvalid, ModeratorError, RedisMisused
from moderator.events import Event, parse_message
from moderator.queue import commands, keys, revisions, stats
from moderator.queue.bounds import NO_BOUNDS, QueueBounds
from moderator.queue.commands import read_body
from moderator.queue.executors import Executor
from moderator.queue.failures import failing_as, not_accepted, not_replayed, not_revised
from moderator.queue.message import decode_message
from moderator.queue.records import Acceptance, Answer, Claim, DeadLetterReason, Publication
from moderator.queue.stats import QueueStats
from moderator.queue.subscriptions import NO_SUBSCRIPTIONS, Subscriptions
from moderator.queue.sweeper import Sweeper
from moderator.verdicts import Decision, Verdict

__all__ = ["Acceptance", "Answer", "Claim", "DeadLetterReason", "Ledger", "read_body"]


class Ledger:
    """The ledger in one Redis or its stand-in.

    Args:
        executor: runs its commands.
        lease: seconds after which a started event that no worker holds any more, or one lost on its way, is
            delivered again.
        bounds: how full `accept` may make the queue.
        subscriptions: the consumers besides webhooks for which `publish` and `sweep` put verdicts into the outbox.
    """

    def __init__(
        self,
        executor: Executor,
        lease: float,
        bounds: QueueBounds = NO_BOUNDS,
        subscriptions: Subscriptions = NO_SUBSCRIPTIONS,
    ) -> None:
        self._executor = executor
        self._lease = lease
        self._bounds = bounds
        self._subscriptions = subscriptions
        self._sweeper = Sweeper(executor, lease, subscriptions)

    def accept(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]:
        """Accept an event, or a bulk event with many images, and queue it, in one step.

        Returns each event (one per image) with its acceptance. From then on an event cannot get lost.

        Raises:
            EventInvalid: it is no event.
            QueueFull: there is no room for it; nothing was accepted.
            QueueUnavailable: Redis cannot be reached or refuses to write; nothing was accepted.
        """
        return self.enter(*read_body(body))

    def enter(self, body: dict[str, Any], events: list[Event]) -> list[tuple[Event, Acceptance]]:
        """Accept the result of `read_body`; see `accept`."""
        with failing_as(lambda error: not_accepted(events[0], error)):
            return self._executor.run(commands.accept(body, events, self._lease, self._bounds))

    def replay(self, key: str, died_at: str, event: Event) -> Acceptance:
        """Withdraw the error verdict of a dead event, forget its dead letter and accept it again, in one step.

        Args:
            key: of the dead letter.
            died_at: the time of death exactly as the dead letter has it.
            event: the event.

        Returns `ACCEPTED`; or `PENDING` or `ANSWERED` if the event has been submitted again since it died: then only
        the outdated dead letter is removed.

        Raises:
            DeadLetterNotFound: the dead letter is gone, or another has taken its place; nothing has changed.
            QueueUnavailable: Redis cannot be reached; nothing has changed.
        """
        with failing_as(lambda error: not_replayed(key, error)):
            return self._executor.run(commands.replay(key, died_at, event, self._lease))

    def claim(self, events: Sequence[Event]) -> list[Claim | Literal["answered", "busy"]]:
        """Claim events for processing; `answered`/`busy` if one has its verdict or another worker has it.

        Raises:
            RedisMisused: a key of the ledger holds foreign data; nothing was claimed.
        """
        token = uuid4().hex
        return commands.require_all(
            self._executor.run_each([commands.claim(event, token, self._lease) for event in events])
        )

    def publish(
        self, answers: Sequence[Answer], *, ttl: float, stream_length: int
    ) -> list[float | RedisMisused | None]:
        """Store and publish verdicts and close their events, each in one step.

        Returns for each the seconds since the event was accepted; None if it already had a verdict or the claim no
        longer holds it; or the reason why it could not be published. In the last two cases nothing changed.
        """
        return self._executor.run_each(
            [
                commands.publish(Publication.of(answer), ttl, stream_length, self._subscriptions)
                for answer in answers
            ]
        )

    def revise(
        self,
        event_key: str,
        decision: Decision,
        *,
        by: str | None = None,
        reason: str | None = None,
        expected: str | None = None,
        ttl: float,
        stream_length: int,
    ) -> Verdict:
        """Publish a later decision about an event that has a verdict: a verdict that points at the one it revises.

        It is published like the first: in the stream, to the event's webhook, and to the consumers of the outbox. Of
        several that revise the same verdict at once, one succeeds.

        Args:
            event_key: of the event (`Event.key`).
            decision: the later decision.
            by: who decided.
            reason: why.
            expected: digest of the verdict that they saw; None: whichever is current.
            ttl: seconds for which it is kept.
            stream_length: verdicts kept in the stream.

        Raises:
            VerdictNotFound: the event has no verdict.
            VerdictChanged: the event's verdict is not the expected one, or changed meanwhile; nothing was published.
            VerdictUnreadable: this version cannot read the verdict.
            RevisionInvalid: the decision is `error`, or who or why is too long or no text.
            QueueUnavailable: Redis cannot be reached.
        """
        with failing_as(lambda error: not_revised(event_key, error)):
            current = self._executor.run(revisions.current_verdict(event_key))
            current, verdict = revisions.plan_revision(
                event_key, current, decision, by=by, reason=reason, expected=expected
            )
            self._executor.run(revisions.revise(current, verdict, ttl, stream_length, self._subscriptions))
        return verdict

    def retry(
        self,
        event: Event,
        claim: Claim,
        delay: float,
        *,
        harmed: bool = False,
        counts: bool = True,
        held_off: bool = False,
    ) -> bool:
        """End an attempt without an answer; the event is requeued after `delay` seconds.

        Args:
            event: the event.
            claim: the attempt that ends.
            delay: seconds.
            harmed: this attempt harmed a worker; later claims report it.
            counts: whether it uses up an attempt: False if the event was not the cause.
            held_off: the event waits for something unavailable; `Claim.held_off` counts the seconds from then on,
                until an attempt fails for another reason.

        Returns False, and changes nothing, if the claim no longer holds the event.
        """
        return self._executor.run(
            commands.retry(event, claim, delay, harmed=harmed, counts=counts, held_off=held_off)
        )

    def give_back(self, event: Event, claim: Claim) -> bool:
        """Release an event that was not attempted, at once, as if it had never been claimed. See `retry`."""
        return self.retry(event, claim, 0.0, counts=False)

    def extend(self, held: Sequence[tuple[str, str]]) -> int:
        """Renew the lease on events; returns how many were still held.

        Args:
            held: the key of each event, and the token of its claim; `""` for one that waits in a worker and is not
                claimed yet.
        """
        return sum(self._executor.run(command) for command in commands.extend(held, self._lease))

    def sweep(
        self,
        on_ended: Callable[[Verdict, float, ModeratorError], None] = lambda verdict, seconds, error: None,
        *,
        ttl: float = 7 * 86400,
        stream_length: int = 100_000,
    ) -> int:
        """Requeue overdue events that left the queue; see `Sweeper.sweep`."""
        oldest = {queue: self._oldest(queue, "queued_at") for queue in keys.QUEUES.values()}
        return self._sweeper.sweep(oldest, on_ended, ttl=ttl, stream_length=stream_length)

    def oldest_accepted(self, queue: str) -> float | None:
        """Return when the oldest message on a queue was accepted (server time, seconds); None if it is empty.

        Returns 0 for a message that bypassed the ledger, which has no such time.
        """
        return self._oldest(queue, "accepted_at")

    def _oldest(self, queue: str, field: str) -> float | None:
        """Return a time from the record of the oldest message on a queue; see `oldest_accepted`."""
        try:
            message = self._executor.run(commands.ask("LINDEX", queue, -1, read=_as_it_is))
            if message is None:
                return None
            event = parse_message(decode_message(message))[0]
            for key in (event.key, event.before_bulk().key):
                command = commands.ask("HGET", keys.RECORD_PREFIX + key, field, read=_as_it_is)
                if value := self._executor.run(command):
                    return float(value)
        except (EventInvalid, RedisMisused, ValueError):
            pass
        return 0.0

    def stats(self) -> QueueStats:
        """Return how full the queue is, in one round trip.

        Raises:
            RedisMisused: a key of the ledger holds foreign data.
        """
        return stats.read_stats(self._executor.run_each(stats.ask_for_stats()))

    def pending(self) -> int:
        """Return how many accepted events have no verdict yet."""
        return self._executor.run(stats.pending())

    def pending_bytes(self) -> int:
        """Return the approximate bytes of these events; messages that bypassed the ledger are not counted."""
        return self._executor.run(stats.pending_bytes())

    def refusals(self, queue: str) -> int:
        """Return how many messages a queue refused for lack of room since the server's data began."""
        return self._executor.run(stats.refusals(queue))


def _as_it_is(answer: bytes | None) -> bytes | None:
    return answer
