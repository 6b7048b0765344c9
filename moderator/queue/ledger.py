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

from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from moderator.errors import (
    DeadLetterNotFound,
    EventInvalid,
    ModeratorError,
    QueueFull,
    QueueUnavailable,
    RedisMisused,
)
from moderator.events import Event, parse_message
from moderator.queue import names
from moderator.queue.bounds import DRAIN_SAMPLE, NO_BOUNDS, QueueBounds, retry_after
from moderator.queue.connection import Redis
from moderator.queue.message import decode_message, encode_message
from moderator.queue.outbox import NO_SUBSCRIPTIONS, Subscriptions
from moderator.queue.records import (
    Acceptance,
    Answer,
    Claim,
    DeadLetterReason,
    Publication,
    read_claim,
    to_claim,
    to_record,
)
from moderator.queue.scripts import Script
from moderator.queue.sweeper import Sweeper
from moderator.verdicts import Verdict

__all__ = ["Acceptance", "Answer", "Claim", "DeadLetterReason", "Ledger", "read_body"]

#: Held events looked at in one step: bounds the time that Redis is busy with it.
EXTEND_SIZE = 500


def read_body(body: dict[str, Any]) -> tuple[dict[str, Any], list[Event]]:
    """A message and its events, with the same ids in both: one that was left out is made up now.

    Raises:
        EventInvalid: it is no event.
    """
    events = parse_message(body)
    if len(events) == 1 and "image" in body:
        body = events[0].model_dump(mode="json", exclude_none=True)
    return body, events


class Ledger:
    """The ledger in one Redis.

    Args:
        client: connection.
        lease: seconds after which a started event that nobody holds any more, or one lost on its way, is given out
            again.
        bounds: how full the queue may get by `accept`.
        subscriptions: the consumers for which `publish` and `sweep` put verdicts into the outbox, besides webhooks.
    """

    def __init__(
        self,
        client: Redis,
        lease: float,
        bounds: QueueBounds = NO_BOUNDS,
        subscriptions: Subscriptions = NO_SUBSCRIPTIONS,
    ) -> None:
        self._redis = client
        self._subscriptions = subscriptions
        self._lease = lease
        self._bounds = bounds
        self._accept, self._claim, self._publish, self._retry, self._extend, self._replay = (
            Script(client, name) for name in ("accept", "claim", "publish", "retry", "extend", "replay")
        )
        self._sweeper = Sweeper(client, lease, subscriptions)

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
        bounds = self._bounds.of(events[0].priority)
        queue = names.QUEUES[events[0].priority]
        try:
            answers = self._accept(
                [names.PENDING, queue, names.PENDING_BYTES, names.REFUSALS, names.VERDICTS],
                [
                    names.RECORD_PREFIX,
                    names.VERDICT_PREFIX,
                    encode_message(body, queue),
                    self._lease,
                    bounds.events,
                    bounds.size,
                    DRAIN_SAMPLE,
                    *(part for event in events for part in (event.key, to_record(event))),
                ],
            )
        except (RedisError, RedisMisused) as error:
            # Without an answer it may have arrived: whoever submits it again must give the same id.
            fate = (
                f"{events[0].id} may be on the queue all the same"
                if isinstance(error, RedisTimeoutError)
                else "nothing is on the queue"
            )
            raise QueueUnavailable(
                f"Redis did not accept the event ({error}); {fate}. Check MODERATOR_REDIS_URL "
                "and that the server runs, then submit again: the same id is accepted once"
            ) from error
        if answers[0] == b"full":
            later = retry_after(int(answers[1]), float(answers[2]), bounds)
            raise QueueFull(
                f"the queue has no room for {len(events)} {events[0].priority} event(s); nothing of it was accepted. "
                f"Submit again in {later:.1f} s; more workers, MODERATOR_QUEUE_LIMIT or MODERATOR_QUEUE_BYTES make "
                "room for more",
                later,
            )
        return [(event, Acceptance(a.decode())) for event, a in zip(events, answers, strict=True)]

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
        queue = names.QUEUES[event.priority]
        body = event.model_dump(mode="json", exclude_none=True)
        keys = [names.PENDING, queue, names.PENDING_BYTES, names.DEAD_LETTERS]
        keys += [
            prefix + key for prefix in (names.DEAD_LETTER_PREFIX, names.RECORD_PREFIX, names.VERDICT_PREFIX)
        ]
        args = [key, died_at, encode_message(body, queue), self._lease, to_record(event)]
        try:
            answer = self._replay(keys, args)
        except (RedisError, RedisMisused) as error:
            raise QueueUnavailable(f"Redis did not take {key} back ({error}); try again") from error
        if answer == b"gone":
            raise DeadLetterNotFound(f"no dead letter {key} of that death: already replayed or dropped")
        return Acceptance.ACCEPTED if answer == b"replayed" else Acceptance(answer.decode())

    def claim(self, events: Sequence[Event]) -> list[Claim | Literal["answered", "busy"]]:
        """Take events for processing; `answered`/`busy` if one has its verdict or another worker is at it.

        Raises:
            RedisMisused: a key of the ledger holds what is not ours; nothing was claimed.
        """
        token = uuid4().hex
        answers = self._claim.run_each([to_claim(event, token, self._lease) for event in events])
        for answer in answers:
            if isinstance(answer, RedisMisused):
                raise answer
        return [read_claim(answer, token) for answer in answers]

    def publish(
        self, answers: Sequence[Answer], *, ttl: float, stream_length: int
    ) -> list[float | RedisMisused | None]:
        """Keep and publish verdicts and close their events, each in one step.

        Returns for each the seconds since the event was accepted; or None if it had a verdict already or the claim does
        not hold it any more, or why it could not be published: then nothing changed.
        """
        calls = [Publication.of(answer).call(ttl, stream_length, self._subscriptions) for answer in answers]
        done = self._publish.run_each(calls)
        return [d if isinstance(d, RedisMisused) else float(d[1]) if d[0] else None for d in done]

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
            harmed: this try harmed a worker; later claims tell.
            counts: whether it uses up a try: False where it was none of the event's doing.
            held_off: the event waits for something that is away; `Claim.held_off` says from then on for how long, until
                a try fails for another reason.

        Returns False, and changes nothing, where the claim does not hold the event any more.
        """
        return bool(
            self._retry(
                [names.PENDING, names.RECORD_PREFIX + event.key],
                [event.key, claim.token, delay, int(harmed), int(counts), int(held_off)],
            )
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
        count = 0
        for at in range(0, len(held), EXTEND_SIZE):
            parts = [part for pair in held[at : at + EXTEND_SIZE] for part in pair]
            count += self._extend([names.PENDING], [names.RECORD_PREFIX, self._lease, *parts])
        return count

    def sweep(
        self,
        told: Callable[[Verdict, float, ModeratorError], None] = lambda verdict, seconds, error: None,
        *,
        ttl: float = 7 * 86400,
        stream_length: int = 100_000,
    ) -> int:
        """Put overdue events that are not on the queue back on it; see `Sweeper.sweep`."""
        oldest = {queue: self._oldest(queue, "queued_at") for queue in names.QUEUES.values()}
        return self._sweeper.sweep(oldest, told, ttl=ttl, stream_length=stream_length)

    def oldest_accepted(self, queue: str) -> float | None:
        """When the oldest message on a queue was accepted (server time, seconds); None if the queue is empty.

        A message that came past the ledger has no such time; 0 stands for it.
        """
        return self._oldest(queue, "accepted_at")

    def _oldest(self, queue: str, field: str) -> float | None:
        """A time in the record of the oldest message on a queue; see `oldest_accepted`."""
        try:
            message = self._redis.lindex(queue, -1)
            if message is None:
                return None
            event = parse_message(decode_message(message))[0]
            for key in (event.key, event.before_bulk().key):
                value = self._redis.hget(names.RECORD_PREFIX + key, field)
                if value:
                    return float(value)
        except (EventInvalid, ResponseError, ValueError):
            pass
        return 0.0

    def pending(self) -> int:
        """How many accepted events have no verdict yet."""
        return int(self._redis.zcard(names.PENDING))

    def pending_bytes(self) -> int:
        """About how many bytes they take; what came past the ledger is not counted."""
        return int(self._redis.get(names.PENDING_BYTES) or 0)

    def refusals(self, queue: str) -> int:
        """How many messages found no room on a queue since the server's data began."""
        return int(self._redis.hget(names.REFUSALS, queue) or 0)
