"""Dead letters: what could not be processed and why, kept until an operator replays or drops it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moderator.errors import EventInvalid, ModeratorError, RecordUnreadable, RedisMisused
from moderator.events import Event
from moderator.queue import keys
from moderator.queue.commands import Command, ask, letter_gone
from moderator.queue.element import MAX_RAW
from moderator.queue.executors import Executor
from moderator.queue.ledger import Acceptance, Ledger
from moderator.queue.outbox import Delivery
from moderator.queue.subscriptions import WEBHOOKS, outbox_names

#: Dead letters read in one round trip.
LETTERS_PER_PAGE = 100


def delivery_prefix(consumer: str) -> str:
    """Return the prefix of a delivery's key within the key of its dead letter."""
    return "webhook:" if consumer == WEBHOOKS else f"delivery:{consumer}:"


class DeadLetter(BaseModel):
    """What could not be processed: an event, a message that is no event, or a failed delivery of a verdict.

    An event is in `event`. A message that is no event has only `raw`, its text, and so has an unreadable dead letter.
    A delivery has the verdict in `raw`, and the URL of its webhook in `webhook` or the name of another consumer in
    `consumer`.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    key: str
    error: str
    message: str
    attempts: int
    died_at: datetime
    event: Event | None = None
    webhook: str | None = None
    consumer: str | None = None
    raw: str | None = None
    stamp: str = Field("", exclude=True, repr=False)
    """`died_at` exactly as in Redis: the same key may name another death later."""


@dataclass(frozen=True)
class Buried:
    """A delivery that becomes a dead letter: its list in the outbox, its record, and its member of the list."""

    due: str
    record: bytes
    member: bytes


class DeadLetters:
    """The dead letters in one Redis."""

    def __init__(self, executor: Executor, ledger: Ledger) -> None:
        self._executor = executor
        self._ledger = ledger

    def __len__(self) -> int:
        return self._executor.run(ask("ZCARD", keys.DEAD_LETTERS))

    def __iter__(self) -> Iterator[DeadLetter]:
        """Yield the dead letters that exist at the time of the call, oldest first."""
        return self._read(self._executor.run(dead_letter_keys()))

    def newest(self, count: int) -> list[DeadLetter]:
        """Return the latest dead letters, newest first."""
        return list(self._read(self._executor.run(dead_letter_keys(newest=count))))

    def get(self, key: str) -> DeadLetter | None:
        """Return the dead letter of an event key (`source:id`), or None."""
        return next(self._read([key]), None)

    def _read(self, keys: Sequence[str]) -> Iterator[DeadLetter]:
        for at in range(0, len(keys), LETTERS_PER_PAGE):
            page = keys[at : at + LETTERS_PER_PAGE]
            yield from read_letters(page, self._executor.run_each(ask_for_letters(page)))

    def bury_message(self, body: Any, error: EventInvalid) -> str:
        """Keep a message that is no event; return the dead letter's key."""
        key = f"not-an-event:{uuid4().hex}"
        self._bury(key, error, 0, {"raw": json.dumps(body, default=repr)[:MAX_RAW]})
        return key

    def bury_delivery(
        self, consumer: str, delivery: Delivery, error: ModeratorError, member: bytes | None = None
    ) -> None:
        """Keep a verdict that could not be delivered to a consumer, and take it out of the outbox, in one step.

        `member`: its key in the outbox, if that is no text.
        """
        fields: dict[str, str | bytes] = {"raw": delivery.body.decode("utf-8", "replace")}
        fields["webhook" if consumer == WEBHOOKS else "consumer"] = (
            delivery.url if consumer == WEBHOOKS else consumer
        )
        if delivery.evidence_fields is not None:
            fields.update(zip(("embedding", "tensor", "readings"), delivery.evidence_fields, strict=True))
        due, prefix = outbox_names(consumer)
        key = delivery.key.encode() if member is None else member
        outbox = Buried(due, prefix.encode() + key, key)
        self._bury(delivery_prefix(consumer) + delivery.key, error, delivery.attempt, fields, outbox)

    def _bury(
        self,
        key: str,
        error: ModeratorError,
        attempts: int,
        fields: Mapping[str, str | bytes],
        delivery: Buried | None = None,
    ) -> None:
        facts = {"error": type(error).__name__, "message": str(error), "attempts": str(attempts), **fields}
        parts = [part for pair in facts.items() for part in pair]
        self._executor.run(bury(key, parts, delivery))

    def replay(self, letter: DeadLetter) -> Acceptance:
        """Submit the event again, or deliver to the webhook or another consumer again.

        An event's `error` verdict is withdrawn; a new verdict will be published.

        Returns `ACCEPTED`; or `PENDING` or `ANSWERED` if the event was submitted again since it died: then only the
        outdated dead letter is removed.

        Raises:
            EventInvalid: the dead letter is no event and cannot become one.
            DeadLetterNotFound: this dead letter was already replayed or dropped. Nothing happened.
            QueueUnavailable: Redis cannot be reached; the dead letter is still there.
        """
        if (command := redeliver(letter)) is not None:
            return self._executor.run(command)
        return self._ledger.replay(letter.key, letter.stamp, event_of(letter))

    def drop(self, letter: DeadLetter) -> None:
        """Forget a dead letter.

        Raises:
            DeadLetterNotFound: it was already replayed or dropped. Nothing happened.
        """
        self._executor.run(drop(letter))


def dead_letter_keys(newest: int | None = None) -> Command[list[str]]:
    """Look up the keys of all dead letters, oldest first, or of the `newest` ones, newest first."""
    name, last = ("ZRANGE", -1) if newest is None else ("ZREVRANGE", newest - 1)
    return ask(
        name, keys.DEAD_LETTERS, 0, last, read=lambda found: [key.decode(errors="replace") for key in found]
    )


def ask_for_letters(letter_keys: Sequence[str]) -> list[Command[Any]]:
    """Return the commands whose answers `read_letters` reads."""
    places = [keys.DEAD_LETTER_PREFIX + key for key in letter_keys]
    return [ask(name, place, read=lambda answer: answer) for place in places for name in ("HGETALL", "TYPE")]


def read_letters(letter_keys: Sequence[str], answers: Sequence[Any]) -> Iterator[DeadLetter]:
    """Yield the dead letters that exist under these keys."""
    for key, fields, kind in zip(letter_keys, answers[::2], answers[1::2], strict=True):
        if isinstance(fields, RedisMisused):
            yield _unreadable(key, {}, f"a {kind.decode()} stands in its place")
        elif fields:
            yield _letter(key, {name.decode(errors="replace"): value for name, value in fields.items()})


def bury(key: str, parts: Sequence[str | bytes], delivery: Buried | None = None) -> Command[int]:
    """Keep a dead letter, given its key and the names and values of its fields; take a delivery out of the outbox."""
    script_keys: list[str | bytes] = [keys.DEAD_LETTERS, keys.DEAD_LETTER_PREFIX + key]
    if delivery is None:
        return Command("bury", script_keys, [key, "", *parts], int)
    script_keys += [delivery.due, delivery.record]
    return Command("bury", script_keys, [key, delivery.member, *parts], int)


def redeliver(letter: DeadLetter) -> Command[Acceptance] | None:
    """Deliver to a webhook or another consumer again; None if the dead letter is not of a delivery.

    Its answer raises:
        DeadLetterNotFound: this dead letter is gone.
    """
    consumer = WEBHOOKS if letter.webhook is not None else letter.consumer
    if consumer is None or letter.raw is None:
        return None
    delivery = letter.key.removeprefix(delivery_prefix(consumer))
    due, prefix = outbox_names(consumer)
    script_keys = [keys.DEAD_LETTERS, keys.DEAD_LETTER_PREFIX + letter.key, due, prefix + delivery]
    return Command("redeliver", script_keys, [letter.key, letter.stamp, delivery], _there(letter))


def event_of(letter: DeadLetter) -> Event:
    """Return the event that died.

    Raises:
        EventInvalid: the dead letter is no event and cannot become one.
    """
    if letter.event is None:
        raise EventInvalid(f"{letter.key} is no event: fix what sends such messages, then drop it")
    return letter.event


def drop(letter: DeadLetter) -> Command[Acceptance]:
    """Forget a dead letter.

    Its answer raises:
        DeadLetterNotFound: it is gone.
    """
    script_keys = [keys.DEAD_LETTERS, keys.DEAD_LETTER_PREFIX + letter.key]
    return Command("drop", script_keys, [letter.key, letter.stamp], _there(letter))


def _there(letter: DeadLetter) -> Callable[[Any], Acceptance]:
    """Return a reader of whether a dead letter still existed."""

    def read(answer: Any) -> Acceptance:
        if not answer:
            raise letter_gone(letter.key)
        return Acceptance.ACCEPTED

    return read


def _letter(key: str, fields: dict[str, bytes]) -> DeadLetter:
    """Read a dead letter; of an unreadable one, as much as possible."""
    text = {name: value.decode(errors="replace") for name, value in fields.items()}
    try:
        event = Event.model_validate_json(fields["event"]) if "event" in fields else None
        return DeadLetter(
            key=key,
            error=text["error"],
            message=text["message"],
            attempts=int(text["attempts"]),
            died_at=_moment(text["died_at"]),
            event=event,
            webhook=text.get("webhook"),
            consumer=text.get("consumer"),
            raw=text.get("raw"),
            stamp=text["died_at"],
        )
    except (ValidationError, ValueError, KeyError, OverflowError, OSError) as error:
        reason = "its event is none of this version" if isinstance(error, ValidationError) else repr(error)
        return _unreadable(key, text, reason)


def _unreadable(key: str, text: dict[str, str], reason: str) -> DeadLetter:
    try:
        died_at = _moment(text.get("died_at", "0"))
    except (ValueError, OverflowError, OSError):
        died_at = _moment("0")
    return DeadLetter(
        key=key,
        error=text.get("error", RecordUnreadable.__name__),
        message=text.get("message", f"this dead letter cannot be read: {reason}"),
        attempts=int(text["attempts"]) if text.get("attempts", "").isdecimal() else 0,
        died_at=died_at,
        raw=json.dumps(text, ensure_ascii=False)[:MAX_RAW],
        stamp=text.get("died_at", ""),
    )


def _moment(seconds: str) -> datetime:
    return datetime.fromtimestamp(float(seconds), tz=UTC)
