"""The ledger: every accepted event stands here until its verdict is published.

Celery's late acknowledgement on Redis has a gap in which a message can be lost: between its removal from the
list and the note that a worker has it. The ledger closes it. The queue is only how events travel; the ledger
knows which are not answered, and puts those back on the queue that are overdue and no longer there. Retries
and the events of a dead worker come back the same way.

Each change is one Lua script, so it happens whole or not at all. Times are the Redis server's.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal
from uuid import uuid4

from moderator.errors import EventInvalid, ModeratorError, RedisMisused
from moderator.events import Event, parse_message
from moderator.queue import commands, keys, stats
from moderator.queue.bounds import NO_BOUNDS, QueueBounds
from moderator.queue.commands import read_body
from moderator.queue.executors import Executor
from moderator.queue.failures import failing_as, not_accepted, not_replayed
from moderator.queue.message import decode_message
from moderator.queue.records import Acceptance, Answer, Claim, DeadLetterReason, Publication
from moderator.queue.stats import QueueStats
from moderator.queue.subscriptions import NO_SUBSCRIPTIONS, Subscriptions
from moderator.queue.sweeper import Sweeper
from moderator.verdicts import Verdict

__all__ = ["Acceptance", "Answer", "Claim", "DeadLetterReason", "Ledger", "read_body"]


class Ledger:
    """The ledger of one Redis, or of what stands in for one.

    Args:
        executor: runs its commands.
        lease: seconds after which a started event that nobody holds any more, or one lost on its way, is given out
            again.
        bounds: how full the queue may get by `accept`.
        subscriptions: the consumers for which `publish` and `sweep` put verdicts into the outbox, besides webhooks.
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
        """Accept an event, or a bulk event with many images, and put it on the queue, in one step.

        Returns each event (one per image) with what became of it. After this an event cannot get lost.

        Raises:
            EventInvalid: it is no event.
            QueueFull: there is no room for it; nothing was accepted.
            QueueUnavailable: Redis cannot be reached or refuses to write; nothing was accepted.
        """
        return self.enter(*read_body(body))

    def enter(self, body: dict[str, Any], events: list[Event]) -> list[tuple[Event, Acceptance]]:
        """As `accept`, with what `read_body` made of it."""
        with failing_as(lambda error: not_accepted(events[0], error)):
            return self._executor.run(commands.accept(body, events, self._lease, self._bounds))

    def replay(self, key: str, died_at: str, event: Event) -> Acceptance:
        """Withdraw the error verdict of a dead event, forget its dead letter and accept it again, in one step.

        Args:
            key: of the dead letter.
            died_at: the death that the dead letter names, as it stands there.
            event: the event.

        Returns `ACCEPTED`; or `PENDING` or `ANSWERED` where the event has been submitted again since it died: then only
        the dead letter goes, which is out of date.

        Raises:
            DeadLetterNotFound: the dead letter is gone, or another has taken its place; nothing has changed.
            QueueUnavailable: Redis cannot be reached; nothing has changed.
        """
        with failing_as(lambda error: not_replayed(key, error)):
            return self._executor.run(commands.replay(key, died_at, event, self._lease))

    def claim(self, events: Sequence[Event]) -> list[Claim | Literal["answered", "busy"]]:
        """Take events for processing; `answered`/`busy` if one has its verdict or another worker is at it.

        Raises:
            RedisMisused: a key of the ledger holds what is not ours; nothing was claimed.
        """
        token = uuid4().hex
        return commands.require_all(
            self._executor.run_each([commands.claim(event, token, self._lease) for event in events])
        )

    def publish(
        self, answers: Sequence[Answer], *, ttl: float, stream_length: int
    ) -> list[float | RedisMisused | None]:
        """Keep and publish verdicts and close their events, each in one step.

        Returns for each the seconds since the event was accepted; or None if it had a verdict already or the claim does
        not hold it any more, or why it could not be published: then nothing changed.
        """
        return self._executor.run_each(
            [
                commands.publish(Publication.of(answer), ttl, stream_length, self._subscriptions)
                for answer in answers
            ]
        )

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
        """End a try without an answer; the event is put on the queue again after `delay` seconds.

        Args:
            event: the event.
            claim: the try that ends.
            delay: seconds.
            harmed: this try harmed a worker; later claims say so.
            counts: whether it uses up a try: False where it was none of the event's doing.
            held_off: the event waits for something that is away; `Claim.held_off` says from then on for how long, until
                a try fails for another reason.

        Returns False, and changes nothing, where the claim does not hold the event any more.
        """
        return self._executor.run(
            commands.retry(event, claim, delay, harmed=harmed, counts=counts, held_off=held_off)
        )

    def give_back(self, event: Event, claim: Claim) -> bool:
        """Let another have an event that was not tried: at once, and as if it had not been claimed. See `retry`."""
        return self.retry(event, claim, 0.0, counts=False)

    def extend(self, held: Sequence[tuple[str, str]]) -> int:
        """Let no other have events before a further lease is over; returns for how many that was so.

        Args:
            held: the key of each event, and the token of its claim; `""` for one that waits its turn in a worker and is
                not claimed yet.
        """
        return sum(self._executor.run(command) for command in commands.extend(held, self._lease))

    def sweep(
        self,
        on_ended: Callable[[Verdict, float, ModeratorError], None] = lambda verdict, seconds, error: None,
        *,
        ttl: float = 7 * 86400,
        stream_length: int = 100_000,
    ) -> int:
        """Put overdue events that are not on the queue back on it; see `Sweeper.sweep`."""
        oldest = {queue: self._oldest(queue, "queued_at") for queue in keys.QUEUES.values()}
        return self._sweeper.sweep(oldest, on_ended, ttl=ttl, stream_length=stream_length)

    def oldest_accepted(self, queue: str) -> float | None:
        """When the oldest message on a queue was accepted (server time, seconds); None if the queue is empty.

        A message that came past the ledger has no such time; 0 stands for it.
        """
        return self._oldest(queue, "accepted_at")

    def _oldest(self, queue: str, field: str) -> float | None:
        """A time in the record of the oldest message on a queue; see `oldest_accepted`."""
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
        """Count what waits: one round trip.

        Raises:
            RedisMisused: a key of the ledger holds what is not ours.
        """
        return stats.read_stats(self._executor.run_each(stats.ask_for_stats()))

    def pending(self) -> int:
        """How many accepted events have no verdict yet."""
        return self._executor.run(stats.pending())

    def pending_bytes(self) -> int:
        """About how many bytes they take; what came past the ledger is not counted."""
        return self._executor.run(stats.pending_bytes())

    def refusals(self, queue: str) -> int:
        """How many messages found no room on a queue since the server's data began."""
        return self._executor.run(stats.refusals(queue))


def _as_it_is(answer: bytes | None) -> bytes | None:
    return answer
