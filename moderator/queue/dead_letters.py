"""Dead letters: what could not be dealt with, with the reason, kept until somebody replays or drops it."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.exceptions import ResponseError

from moderator.errors import DeadLetterNotFound, EventInvalid, ModeratorError, RecordUnreadable
from moderator.events import Event
from moderator.queue import names
from moderator.queue.connection import Redis
from moderator.queue.element import MAX_RAW
from moderator.queue.ledger import Acceptance, Ledger
from moderator.queue.outbox import WEBHOOKS, Delivery, outbox_names
from moderator.queue.scripts import Script


def delivery_prefix(consumer: str) -> str:
    """Return what stands before the key of a delivery, in the key of its dead letter."""
    return "webhook:" if consumer == WEBHOOKS else f"delivery:{consumer}:"


class DeadLetter(BaseModel):
    """What could not be dealt with: an event, a message that is no event, or a consumer that took no verdict.

    An event stands in `event`. A message that is no event has only `raw`: what it was; so has a dead letter that
    cannot be read. A webhook has its address in `webhook` and the verdict in `raw`; another consumer its name in
    `consumer`.
    """

    model_config = ConfigDict(frozen=True)

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
    """`died_at` as it stands in Redis: the same key may name another death later."""


class DeadLetters:
    """The dead letters in one Redis."""

    def __init__(self, client: Redis, ledger: Ledger) -> None:
        self._redis = client
        self._ledger = ledger
        self._drop, self._redeliver, self._keep = (
            Script(client, name) for name in ("drop", "redeliver", "bury")
        )

    def __len__(self) -> int:
        return int(self._redis.zcard(names.DEAD_LETTERS))

    def __iter__(self) -> Iterator[DeadLetter]:
        """Oldest first; those of when it was called."""
        return self._read(self._redis.zrange(names.DEAD_LETTERS, 0, -1))

    def newest(self, count: int) -> list[DeadLetter]:
        """The latest dead letters, newest first."""
        return list(self._read(self._redis.zrevrange(names.DEAD_LETTERS, 0, count - 1)))

    def get(self, key: str) -> DeadLetter | None:
        """The dead letter of an event key (`source:id`), or None."""
        name = names.DEAD_LETTER_PREFIX + key
        try:
            fields = {k.decode(errors="replace"): v for k, v in self._redis.hgetall(name).items()}
        except ResponseError:
            kind = self._redis.type(name).decode()
            return _unreadable(key, {}, f"a {kind} stands in its place")
        return _letter(key, fields) if fields else None

    def _read(self, keys: list[bytes]) -> Iterator[DeadLetter]:
        for key in keys:
            letter = self.get(key.decode(errors="replace"))
            if letter is not None:
                yield letter

    def bury_message(self, body: Any, error: EventInvalid) -> str:
        """Keep a message that is no event; returns the dead letter's key."""
        key = f"not-an-event:{uuid4().hex}"
        self._bury(key, error, 0, {"raw": json.dumps(body, default=repr)[:MAX_RAW]})
        return key

    def bury_delivery(self, consumer: str, delivery: Delivery, error: ModeratorError) -> None:
        """Keep a verdict that a consumer did not take."""
        fields: dict[str, str | bytes] = {"raw": delivery.body.decode("utf-8", "replace")}
        fields["webhook" if consumer == WEBHOOKS else "consumer"] = (
            delivery.url if consumer == WEBHOOKS else consumer
        )
        if delivery.evidence is not None:
            values = delivery.evidence.to_fields()
            fields.update(zip(("embedding", "tensor", "readings"), values, strict=True))
        self._bury(delivery_prefix(consumer) + delivery.key, error, delivery.attempt, fields)

    def _bury(
        self, key: str, error: ModeratorError, attempts: int, fields: Mapping[str, str | bytes]
    ) -> None:
        facts = {"error": type(error).__name__, "message": str(error), "attempts": str(attempts), **fields}
        parts = [part for pair in facts.items() for part in pair]
        self._keep([names.DEAD_LETTERS, names.DEAD_LETTER_PREFIX + key], [key, *parts])

    def replay(self, letter: DeadLetter) -> Acceptance:
        """Submit the event again, or deliver to the webhook or another consumer again.

        An event's `error` verdict is withdrawn; a new verdict will be published.

        Returns `ACCEPTED`; or `PENDING` or `ANSWERED` where the event was submitted again since it died: then only the
        dead letter goes, which is out of date.

        Raises:
            EventInvalid: the dead letter is no event and cannot become one.
            DeadLetterNotFound: this dead letter is not there any more: replayed already, or dropped. Nothing happened.
            QueueUnavailable: Redis cannot be reached; the dead letter is still there.
        """
        consumer = WEBHOOKS if letter.webhook is not None else letter.consumer
        if consumer is not None and letter.raw is not None:
            delivery = letter.key.removeprefix(delivery_prefix(consumer))
            due, prefix = outbox_names(consumer)
            keys = [names.DEAD_LETTERS, names.DEAD_LETTER_PREFIX + letter.key, due, prefix + delivery]
            if not self._redeliver(keys, [letter.key, letter.stamp, delivery]):
                raise _gone(letter)
            return Acceptance.ACCEPTED
        if letter.event is None:
            raise EventInvalid(f"{letter.key} is no event: fix what sends such messages, then drop it")
        return self._ledger.replay(letter.key, letter.stamp, letter.event)

    def drop(self, letter: DeadLetter) -> None:
        """Forget a dead letter.

        Raises:
            DeadLetterNotFound: it is not there any more: replayed or dropped already. Nothing happened.
        """
        keys = [names.DEAD_LETTERS, names.DEAD_LETTER_PREFIX + letter.key]
        if not self._drop(keys, [letter.key, letter.stamp]):
            raise _gone(letter)


def _gone(letter: DeadLetter) -> DeadLetterNotFound:
    return DeadLetterNotFound(f"no dead letter {letter.key} of that death: already replayed or dropped")


def _letter(key: str, fields: dict[str, bytes]) -> DeadLetter:
    """Read a dead letter; of one that cannot be read, what can be."""
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
