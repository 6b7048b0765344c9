"""Dead letters: what could not be dealt with, with the reason, kept until somebody replays or drops it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from moderator.errors import EventInvalid, ModeratorError
from moderator.events import Event
from moderator.queue import names
from moderator.queue.connection import Redis
from moderator.queue.ledger import Ledger
from moderator.queue.webhooks import Delivery, WebhookOutbox

#: Characters kept of a message that is no event: enough to see what it was.
MAX_RAW = 4096

#: Before the event key, in the key of a dead letter that is a webhook's.
WEBHOOK_KEY_PREFIX = "webhook:"


class DeadLetter(BaseModel):
    """What could not be dealt with: an event, a message that is no event, or a webhook that took no verdict.

    An event stands in `event`. A message that is no event has only `raw`: what it was. A webhook has its
    address in `webhook` and the verdict in `raw`.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    error: str
    message: str
    attempts: int
    died_at: datetime
    event: Event | None = None
    webhook: str | None = None
    raw: str | None = None


class DeadLetters:
    """The dead letters in one Redis."""

    def __init__(self, client: Redis, ledger: Ledger, outbox: WebhookOutbox) -> None:
        self._redis = client
        self._ledger = ledger
        self._outbox = outbox

    def __len__(self) -> int:
        return int(self._redis.zcard(names.DEAD_LETTERS))

    def __iter__(self) -> Iterator[DeadLetter]:
        """Oldest first; those of when it was called."""
        for key in self._redis.zrange(names.DEAD_LETTERS, 0, -1):
            letter = self.get(key.decode())
            if letter is not None:
                yield letter

    def newest(self, count: int) -> list[DeadLetter]:
        """The latest dead letters, newest first."""
        keys = self._redis.zrevrange(names.DEAD_LETTERS, 0, count - 1)
        return [letter for key in keys if (letter := self.get(key.decode())) is not None]

    def get(self, key: str) -> DeadLetter | None:
        """The dead letter of an event key (`source:id`), or None."""
        fields = self._redis.hgetall(names.DEAD_LETTER_PREFIX + key)
        if not fields:
            return None
        return DeadLetter(
            key=key,
            error=fields[b"error"].decode(),
            message=fields[b"message"].decode(),
            attempts=int(fields[b"attempts"]),
            died_at=datetime.fromtimestamp(float(fields[b"died_at"]), tz=UTC),
            event=Event.model_validate_json(fields[b"event"]) if b"event" in fields else None,
            webhook=fields[b"webhook"].decode() if b"webhook" in fields else None,
            raw=fields[b"raw"].decode() if b"raw" in fields else None,
        )

    def bury_message(self, body: Any, error: EventInvalid) -> str:
        """Keep a message that is no event; returns the dead letter's key."""
        key = f"not-an-event:{uuid4().hex}"
        self._bury(key, error, 0, {"raw": json.dumps(body, default=repr)[:MAX_RAW]})
        return key

    def bury_delivery(self, delivery: Delivery, error: ModeratorError) -> None:
        """Keep a verdict that its webhook did not take."""
        fields = {"webhook": delivery.url, "raw": delivery.body.decode("utf-8", "replace")}
        self._bury(WEBHOOK_KEY_PREFIX + delivery.key, error, delivery.attempt, fields)

    def _bury(self, key: str, error: ModeratorError, attempts: int, fields: dict[str, str]) -> None:
        seconds, micros = self._redis.time()
        now = seconds + micros / 1e6
        facts: dict[str, Any] = {
            "error": type(error).__name__,
            "message": str(error),
            "attempts": attempts,
            "died_at": now,
        }
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(names.DEAD_LETTER_PREFIX + key)
            pipe.hset(names.DEAD_LETTER_PREFIX + key, mapping={**facts, **fields})
            pipe.zadd(names.DEAD_LETTERS, {key: now})
            pipe.execute()

    def replay(self, letter: DeadLetter) -> None:
        """Submit the event again, or deliver to the webhook again.

        An event's `error` verdict is withdrawn; a new verdict will be published.

        Raises:
            EventInvalid: the dead letter is no event and cannot become one.
            QueueUnavailable: Redis cannot be reached; the dead letter is still there.
        """
        if letter.webhook is not None and letter.raw is not None:
            with self._redis.pipeline(transaction=True) as pipe:
                self._outbox.add(
                    pipe, letter.key.removeprefix(WEBHOOK_KEY_PREFIX), letter.webhook, letter.raw
                )
                _forget(pipe, letter)
                pipe.execute()
        elif letter.event is not None:
            self._ledger.replay(letter.event, forget=lambda pipe: _forget(pipe, letter))
        else:
            raise EventInvalid(f"{letter.key} is no event: fix what sends such messages, then drop it")

    def drop(self, letter: DeadLetter) -> None:
        """Forget a dead letter."""
        with self._redis.pipeline(transaction=True) as pipe:
            _forget(pipe, letter)
            pipe.execute()


def _forget(pipe: Redis, letter: DeadLetter) -> None:
    pipe.zrem(names.DEAD_LETTERS, letter.key)
    pipe.delete(names.DEAD_LETTER_PREFIX + letter.key)
