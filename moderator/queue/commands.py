"""The operations of the queue as data: what to send to Redis, and what its answer means. Pure.

`executors` runs commands from threads or an event loop; `moderator.testing` runs them without a server.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import ValidationError

from moderator.errors import DeadLetterNotFound, QueueFull, RedisMisused, VerdictUnreadable
from moderator.events import Event, bulk_image_key, parse_message
from moderator.queue import keys
from moderator.queue.bounds import DRAIN_SAMPLE_VERDICTS, QueueBounds, retry_after
from moderator.queue.message import encode_message
from moderator.queue.records import Acceptance, Claim, Publication, read_claim, to_claim, to_record
from moderator.queue.scripts import script_sha
from moderator.queue.stream import Entry, StreamPage, entries_of, read_page
from moderator.queue.subscriptions import NO_SUBSCRIPTIONS, Subscriptions
from moderator.verdicts import Verdict

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: Most held events extended in one step: limits how long Redis is busy.
EXTEND_EVENTS_MAX = 500
#: Most overdue events checked in one step, for the same reason.
SWEEP_EVENTS_MAX = 500
#: Most times that an event is queued without being claimed. Events still on the queue are not queued again, so only
#: those that workers take and lose count up, and a claim resets the count.
MAX_DELIVERIES = 10
#: Longest wait, in seconds, of an event that one holder after the other lost.
LOSS_DELAY_MAX_SECONDS = 60.0


@dataclass(frozen=True)
class Command(Generic[T_co]):
    """One change or query."""

    name: str
    """Of a script in `lua/` or, in capitals, of a Redis command."""
    keys: Sequence[str | bytes]
    """Of a script. A Redis command has everything after its name in `args`."""
    args: Sequence[Any]
    read: Callable[[Any], T_co]
    """Converts the answer; may raise the errors named by the function that returns the command."""

    def words(self) -> tuple[Any, ...]:
        """Return the words to send to a server that has loaded the script."""
        if self.name.isupper():
            return (self.name, *self.args)
        return ("EVALSHA", script_sha(self.name), len(self.keys), *self.keys, *self.args)


class Overdue(NamedTuple):
    """An event that is due and no longer on the queue."""

    member: bytes
    """Its key, or anything that another program put there."""
    due: bytes
    queue: str
    what: Literal["lost", "undeliverable", "unreadable"]


def read_body(body: dict[str, Any]) -> tuple[dict[str, Any], list[Event]]:
    """Return a message and its events, with the same ids in both: a missing id is generated now.

    Raises:
        EventInvalid: it is no event.
    """
    events = parse_message(body)
    if len(events) == 1 and "image" in body:
        body = events[0].model_dump(mode="json", exclude_none=True)
    return body, events


def accept(
    body: dict[str, Any], events: Sequence[Event], lease: float, bounds: QueueBounds
) -> Command[list[tuple[Event, Acceptance]]]:
    """Accept the result of `read_body`, and queue it.

    Its answer raises:
        QueueFull: there is no room for it; nothing was accepted.
    """
    priority = events[0].priority
    queue, limits = keys.QUEUES[priority], bounds.of(priority)

    def read(answers: list[bytes]) -> list[tuple[Event, Acceptance]]:
        if answers[0] == b"full":
            later = retry_after(int(answers[1]), float(answers[2]), limits)
            raise QueueFull(
                f"the queue has no room for {len(events)} {priority} event(s); nothing of it was accepted. "
                f"Submit again in {later:.1f} s; more workers, MODERATOR_QUEUE_LIMIT or MODERATOR_QUEUE_BYTES make "
                "room for more",
                later,
            )
        return [(event, Acceptance(a.decode())) for event, a in zip(events, answers, strict=True)]

    args: list[Any] = [keys.RECORD_PREFIX, keys.VERDICT_PREFIX, encode_message(body, queue)]
    args += [lease, limits.events, limits.size, DRAIN_SAMPLE_VERDICTS]
    args += [part for event in events for part in (event.key, to_record(event))]
    script_keys = [keys.PENDING, queue, keys.PENDING_BYTES, keys.REFUSALS, keys.VERDICTS]
    return Command("accept", script_keys, args, read)


def claim(event: Event, token: str, lease: float) -> Command[Claim | Literal["answered", "busy"]]:
    """Take an event for processing."""
    return Command("claim", *to_claim(event, token, lease), lambda answer: read_claim(answer, token))


def publish(
    publication: Publication,
    ttl: float,
    stream_length: int,
    subscriptions: Subscriptions = NO_SUBSCRIPTIONS,
) -> Command[float | None]:
    """Keep and publish a verdict, put it into the outbox and close its event.

    Answers the seconds since the event was accepted, or None if nothing was done.
    """
    return Command(
        "publish",
        *publication.call(ttl, stream_length, subscriptions),
        lambda answer: float(answer[1]) if answer[0] else None,
    )


def retry(
    event: Event, claim: Claim, delay: float, *, harmed: bool, counts: bool, held_off: bool
) -> Command[bool]:
    """End an attempt without an answer; answers whether the claim held the event."""
    script_keys = [keys.PENDING, keys.RECORD_PREFIX + event.key]
    args = [event.key, claim.token, delay, int(harmed), int(counts), int(held_off)]
    return Command("retry", script_keys, args, bool)


def extend(held: Sequence[tuple[str, str]], lease: float) -> Iterator[Command[int]]:
    """Renew the lease on events; each step answers how many were still held."""
    for at in range(0, len(held), EXTEND_EVENTS_MAX):
        parts = [part for pair in held[at : at + EXTEND_EVENTS_MAX] for part in pair]
        yield Command("extend", [keys.PENDING], [keys.RECORD_PREFIX, lease, *parts], int)


def replay(key: str, died_at: str, event: Event, lease: float) -> Command[Acceptance]:
    """Withdraw the error verdict of a dead event, forget its dead letter and accept it again.

    Its answer raises:
        DeadLetterNotFound: the dead letter is gone, or another has taken its place; nothing has changed.
    """
    queue = keys.QUEUES[event.priority]
    body = event.model_dump(mode="json", exclude_none=True)

    def read(answer: bytes) -> Acceptance:
        if answer == b"gone":
            raise letter_gone(key)
        return Acceptance.ACCEPTED if answer == b"replayed" else Acceptance(answer.decode())

    script_keys = [keys.PENDING, queue, keys.PENDING_BYTES, keys.DEAD_LETTERS]
    script_keys += [
        prefix + key for prefix in (keys.DEAD_LETTER_PREFIX, keys.RECORD_PREFIX, keys.VERDICT_PREFIX)
    ]
    return Command(
        "replay", script_keys, [key, died_at, encode_message(body, queue), lease, to_record(event)], read
    )


def letter_gone(key: str) -> DeadLetterNotFound:
    """Return the error for a dead letter that is gone."""
    return DeadLetterNotFound(f"no dead letter {key} of that death: already replayed or dropped")


def overdue(oldest: Mapping[str, float | None], lease: float) -> Command[list[Overdue]]:
    """Find events that are due and no longer on the queue.

    Args:
        oldest: when the oldest message on each queue was put there; None: the queue is empty.
        lease: seconds after which events still on the queue are checked again.
    """

    def read(found: list[bytes]) -> list[Overdue]:
        parts = zip(found[::4], found[1::4], found[2::4], found[3::4], strict=True)
        return [
            Overdue(member, due, queue.decode(errors="replace"), what.decode())  # type: ignore[arg-type]
            for member, due, queue, what in parts
        ]

    places = [part for queue, at in oldest.items() for part in (queue, "" if at is None else at)]
    args = [keys.RECORD_PREFIX, keys.VERDICT_PREFIX, lease, SWEEP_EVENTS_MAX, MAX_DELIVERIES, *places]
    return Command("overdue", [keys.PENDING, keys.PENDING_BYTES], args, read)


def requeue(event: Event, key: str, due: bytes, queue: str, lease: float, spread: float) -> Command[int]:
    """Requeue an overdue event; answers 0 if another process was quicker, or if it waits first, else 1.

    Args:
        spread: a random number from 0 to 1. An event that was lost before waits for so much of a time that doubles with
            each loss.
    """
    body = event.model_dump(mode="json", exclude_none=True)
    script_keys = [keys.PENDING, keys.RECORD_PREFIX + key, queue]
    args = [key, due, encode_message(body, queue), lease, spread, LOSS_DELAY_MAX_SECONDS]
    return Command("requeue", script_keys, args, int)


def verdict(event_key: str) -> Command[Verdict | None]:
    """Look up the verdict of an event (`Event.key`); None: it has none yet, or no longer.

    An image of a bulk event is also found by its id unless a single event of that id has a verdict.

    Its answer raises:
        VerdictUnreadable: this version cannot read the verdict.
    """

    def read(found: list[bytes | None]) -> Verdict | None:
        data = next((value for value in found if value is not None), None)
        try:
            return None if data is None else Verdict.model_validate_json(data)
        except ValidationError as error:
            raise verdict_unreadable(event_key, error) from error

    names = (event_key, bulk_image_key(event_key))
    return ask("MGET", *(keys.VERDICT_PREFIX + name for name in names if name is not None), read=read)


def verdict_unreadable(event_key: str, error: ValidationError) -> VerdictUnreadable:
    """Return the error for a verdict that this version cannot read."""
    return VerdictUnreadable(
        f"the verdict of {event_key} was written by another version of the service "
        f"({str(error).splitlines()[0]}); update this one"
    )


def newest_entries(count: int) -> Command[list[Entry]]:
    """Look up the latest entries of the stream, oldest first."""
    return ask(
        "XREVRANGE",
        keys.VERDICTS,
        "+",
        "-",
        "COUNT",
        count,
        read=lambda found: [(entry.decode(), fields) for entry, fields in reversed(found)],
    )


def entries_before(entry: str, count: int) -> Command[list[Entry]]:
    """Look up entries of the stream before one, newest first; before `+`: the latest."""
    before = entry if entry == "+" else f"({entry}"
    return ask(
        "XREVRANGE",
        keys.VERDICTS,
        before,
        "-",
        "COUNT",
        count,
        read=lambda found: [(entry.decode(), fields) for entry, fields in found],
    )


def read_on(after: str, count: int) -> Command[StreamPage]:
    """Read the verdict stream after an entry."""
    return Command("read_on", [keys.VERDICTS], [after, count], lambda answer: read_page(after, answer))


def await_entries(after: str, count: int, seconds: float) -> Command[list[Entry]]:
    """Read the stream after an entry, waiting for new entries if it has none."""
    block = ("BLOCK", round(seconds * 1000))
    return ask("XREAD", "COUNT", count, *block, "STREAMS", keys.VERDICTS, after, read=entries_of)


def require_all(answers: Sequence[T | RedisMisused]) -> list[T]:
    """Return the answers to many commands.

    Raises:
        RedisMisused: a command failed with it.
    """
    found: list[T] = []
    for answer in answers:
        if isinstance(answer, RedisMisused):
            raise answer
        found.append(answer)
    return found


def count(answer: Any) -> int:
    """Read a number; a missing key counts as 0."""
    return int(answer or 0)


def ask(name: str, *args: Any, read: Callable[[Any], T] = count) -> Command[T]:  # type: ignore[assignment]
    """Return a Redis command."""
    return Command(name, (), args, read)
