"""The ledger: every accepted event stands here until its verdict is published.

Celery's late acknowledgement on Redis has a gap in which a message can be lost: between its removal from the
list and the note that a worker has it. The ledger closes it. The queue is only how events travel; the ledger
knows which are not answered, and puts those back on the queue that are overdue and no longer there. Retries
and the events of a dead worker come back the same way.

Each change is one Lua script, so it happens whole or not at all. Times are the Redis server's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from importlib.resources import files
from typing import Any, Literal

from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from moderator.errors import EventInvalid, QueueFull, QueueUnavailable
from moderator.events import Event, parse_message
from moderator.queue import names
from moderator.queue.bounds import DRAIN_SAMPLE, NO_BOUNDS, QueueBounds, retry_after
from moderator.queue.connection import Redis
from moderator.queue.message import decode_message, encode_message
from moderator.verdicts import Verdict

#: Overdue events looked at in one step: bounds the time that Redis is busy with it.
SWEEP_SIZE = 500


class Acceptance(StrEnum):
    """What became of a submitted event."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    ANSWERED = "answered"
    SPOOLED = "spooled"
    """Redis is away: it is kept on this machine's disk, and will be delivered."""


@dataclass(frozen=True)
class Claim:
    """An event that is ours to process.

    Which try this is, how many seconds it waited since it was accepted, and whether an earlier try harmed a worker.
    """

    attempt: int
    waited: float
    harmed: bool = False


@dataclass(frozen=True)
class DeadLetterReason:
    """Why an event died: a class name of `moderator.errors`, and the message."""

    type: str
    message: str


@dataclass(frozen=True)
class Answer:
    """What an event gets: its verdict and, if it died, why."""

    event: Event
    verdict: Verdict
    dead: DeadLetterReason | None = None


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
        lease: seconds after which a started event without a verdict, or one lost on its way, is given out again.
        bounds: how full the queue may get by `accept`.
    """

    def __init__(self, client: Redis, lease: float, bounds: QueueBounds = NO_BOUNDS) -> None:
        self._redis = client
        self._lease = lease
        self._bounds = bounds
        folder = files("moderator.queue") / "lua"

        def script(name: str) -> Any:
            return client.register_script((folder / f"{name}.lua").read_text())

        self._accept, self._claim, self._publish = script("accept"), script("claim"), script("publish")
        self._retry, self._overdue, self._requeue = script("retry"), script("overdue"), script("requeue")

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
        try:
            answers = self._run_accept(body, events, bounds)
        except RedisError as error:
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

    def replay(self, event: Event, *, forget: Callable[[Redis], None]) -> None:
        """Withdraw the verdict of an event and accept it again.

        Args:
            event: the event.
            forget: adds to the same transaction what goes with the old verdict. In two steps, a worker that
                is quick to fail again would have its new dead letter forgotten.

        Raises:
            QueueUnavailable: Redis cannot be reached; nothing has changed.
        """
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(names.VERDICT_PREFIX + event.key)
                forget(pipe)
                # Without bounds: it had its place, and a refusal in here would lose its verdict.
                body = event.model_dump(mode="json", exclude_none=True)
                self._run_accept(body, [event], NO_BOUNDS, pipe)
                pipe.execute()
        except RedisError as error:
            raise QueueUnavailable(f"Redis did not take {event.key} back ({error}); try again") from error

    def _run_accept(
        self, body: dict[str, Any], events: list[Event], bounds: QueueBounds, client: Redis | None = None
    ) -> Any:
        queue = names.QUEUES[events[0].priority]
        pairs = [part for event in events for part in (event.key, event.model_dump_json())]
        return self._accept(
            keys=[names.PENDING, queue, names.PENDING_BYTES, names.REFUSALS, names.VERDICTS],
            args=[
                names.RECORD_PREFIX,
                names.VERDICT_PREFIX,
                encode_message(body, queue),
                self._lease,
                bounds.events,
                bounds.size,
                DRAIN_SAMPLE,
                *pairs,
            ],
            client=client,
        )

    def claim(self, events: Sequence[Event]) -> list[Claim | Literal["answered", "busy"]]:
        """Take events for processing; `answered`/`busy` if one has its verdict or another worker is at it."""
        answers = self._run_each(
            self._claim,
            [
                (
                    [names.PENDING, names.RECORD_PREFIX + event.key, names.VERDICT_PREFIX + event.key],
                    [event.key, event.model_dump_json(), names.QUEUES[event.priority], self._lease],
                )
                for event in events
            ],
        )
        return [_read_claim(answer) for answer in answers]

    def publish(self, answers: Sequence[Answer], *, ttl: float, stream_length: int) -> list[float | None]:
        """Keep and publish verdicts and close their events, each in one step.

        Returns for each the seconds since the event was accepted, or None if it had a verdict already: then nothing
        changed.
        """
        done = self._run_each(self._publish, [_publication(answer, ttl, stream_length) for answer in answers])
        return [float(answer[1]) if answer[0] else None for answer in done]

    def _run_each(self, script: Any, calls: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        """Run a script with keys and arguments for each of many, in one round trip."""
        if len(calls) == 1:
            keys, args = calls[0]
            return [script(keys=keys, args=args)]
        with self._redis.pipeline(transaction=False) as pipe:
            for keys, args in calls:
                script(keys=keys, args=args, client=pipe)
            return list(pipe.execute())

    def retry(self, event: Event, delay: float, *, harmed: bool = False, counts: bool = True) -> None:
        """Give the event back; it is put on the queue again after `delay` seconds.

        `harmed`: this try harmed a worker; later claims tell. Where a try was none of the event's doing, it does not
        count.
        """
        keys = [names.PENDING, names.RECORD_PREFIX + event.key]
        self._retry(keys=keys, args=[event.key, delay, int(harmed), int(counts)])

    def sweep(self) -> int:
        """Put overdue events that are not on the queue back on it; returns how many. Safe from many workers."""
        oldest: list[Any] = []
        for queue in names.QUEUES.values():
            queued = self._oldest(queue, "queued_at")
            oldest += [queue, "" if queued is None else queued]
        found = self._overdue(
            keys=[names.PENDING], args=[names.RECORD_PREFIX, self._lease, SWEEP_SIZE, *oldest]
        )
        count = 0
        for key, due, queue in zip(found[::3], found[1::3], found[2::3], strict=True):
            record = names.RECORD_PREFIX + key.decode()
            event = self._redis.hget(record, "event")
            if event is None:  # answered meanwhile
                continue
            body = Event.model_validate_json(event).model_dump(mode="json", exclude_none=True)
            count += self._requeue(
                keys=[names.PENDING, record, queue],
                args=[key, due, encode_message(body, queue.decode()), self._lease],
            )
        return count

    def oldest_accepted(self, queue: str) -> float | None:
        """When the oldest message on a queue was accepted (server time, seconds); None if the queue is empty.

        A message that came past the ledger has no such time; 0 stands for it.
        """
        return self._oldest(queue, "accepted_at")

    def _oldest(self, queue: str, field: str) -> float | None:
        """A time in the record of the oldest message on a queue; see `oldest_accepted`."""
        message = self._redis.lindex(queue, -1)
        if message is None:
            return None
        try:
            event = parse_message(decode_message(message))[0]
        except EventInvalid:
            return 0.0
        value = self._redis.hget(names.RECORD_PREFIX + event.key, field)
        return float(value) if value else 0.0

    def pending(self) -> int:
        """How many accepted events have no verdict yet."""
        return int(self._redis.zcard(names.PENDING))

    def pending_bytes(self) -> int:
        """About how many bytes they take; what came past the ledger is not counted."""
        return int(self._redis.get(names.PENDING_BYTES) or 0)

    def refusals(self, queue: str) -> int:
        """How many messages found no room on a queue since the server's data began."""
        return int(self._redis.hget(names.REFUSALS, queue) or 0)


def _read_claim(answer: list[Any]) -> Claim | Literal["answered", "busy"]:
    if answer[0] == b"claimed":
        waited = max(0.0, float(answer[3]) - float(answer[2]))
        return Claim(attempt=int(answer[1]), waited=waited, harmed=answer[4] == b"1")
    return "answered" if answer[0] == b"answered" else "busy"


def _publication(answer: Answer, ttl: float, stream_length: int) -> tuple[list[str], list[Any]]:
    """Keys and arguments of the script."""
    event, dead = answer.event, answer.dead
    key = event.key
    body = answer.verdict.model_dump_json()
    # Its own for each verdict: the delivery of an earlier one, of before a replay, does not get mixed up with it.
    delivery = f"{key}#{sha256(body.encode()).hexdigest()[:12]}"
    keys = [
        names.PENDING,
        names.RECORD_PREFIX + key,
        names.VERDICT_PREFIX + key,
        names.VERDICTS,
        names.DEAD_LETTERS,
        names.DEAD_LETTER_PREFIX + key,
        names.WEBHOOKS,
        names.WEBHOOK_PREFIX + delivery,
        names.PENDING_BYTES,
    ]
    args = [
        key,
        body,
        max(1, round(ttl)),
        stream_length,
        dead.type if dead else "",
        dead.message if dead else "",
        event.reply.webhook or "",
        event.model_dump_json(),
        delivery,
    ]
    return keys, args
