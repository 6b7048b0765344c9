"""The latest attempts to deliver to webhooks, by event and by target, for whoever asks what a receiver answered.

Webhook addresses may hold secrets: a target is kept without query and without long parts of its path, and a digest of
the whole address distinguishes it from others.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moderator.printable import printable
from moderator.queue import keys
from moderator.queue.connection import Redis

#: Attempts kept for an event, and targets kept: senders of events choose the URLs.
EVENT_ATTEMPTS_MAX, TARGETS_MAX = 20, 1000
#: Attempts of a target that a summary looks at.
SUMMARY_ATTEMPTS = 20
#: Seconds for which attempts are kept after the last one.
LOG_SECONDS = 7 * 86_400
#: Length from which a part of a path may be a token.
TOKEN_CHARACTERS_MIN = 20
ERROR_CHARACTERS_MAX = 300


class DeliveryAttempt(BaseModel):
    """One attempt to deliver to a webhook."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    at: datetime
    event: str
    """Key of the event."""
    message: str
    """The `webhook-id`."""
    type: str
    target: str
    """Its address as far as it can be shown."""
    target_id: str
    attempt: int
    """1 for the first."""
    milliseconds: float
    status: int | None = None
    """Of the answer; None: there was none."""
    error: Annotated[str | None, Field(max_length=ERROR_CHARACTERS_MAX)] = None
    """Type and message; None: it was delivered."""


@dataclass(frozen=True)
class TargetSummary:
    """A webhook and how its latest deliveries ended."""

    target_id: str
    last: DeliveryAttempt
    failures: int
    """Attempts that failed since the last that succeeded, as far as the summary looks back."""


def target_id(url: str) -> str:
    """Return the digest that stands for an address."""
    return sha256(url.encode(errors="replace")).hexdigest()[:12]


def shown_target(url: str) -> str:
    """Return an address without user, query and fragment, and `...` for parts of the path that may be tokens."""
    try:
        parts = urlsplit(url)
        host, port = _bracketed(parts.hostname or ""), f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(no URL)"
    path = [part if len(part) < TOKEN_CHARACTERS_MIN else "..." for part in parts.path.split("/")]
    return printable(f"{parts.scheme}://{host}{port}{'/'.join(path)}")[:200]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def find_target(text: str) -> str:
    """Return the digest for an address, or the digest itself."""
    return text if re.fullmatch(r"[0-9a-f]{12}", text) else target_id(text)


class DeliveryLog:
    """The log in one Redis.

    Args:
        client: connection.
        most: attempts kept for each target; 0: nothing is logged.
    """

    def __init__(self, client: Redis, most: int) -> None:
        self._redis = client
        self._most = most

    def add(self, attempt: DeliveryAttempt) -> None:
        """Keep an attempt, in one round trip; older ones above the bounds are forgotten."""
        if not self._most:
            return
        text = attempt.model_dump_json(exclude_none=True)
        bounds = {
            _of_event(attempt.event): EVENT_ATTEMPTS_MAX,
            _of_target(attempt.target_id): self._most,
        }
        with self._redis.pipeline(transaction=True) as pipe:
            for key, most in bounds.items():
                pipe.lpush(key, text)
                pipe.ltrim(key, 0, most - 1)
                pipe.expire(key, LOG_SECONDS)
            pipe.zadd(keys.DELIVERY_TARGETS, {attempt.target_id: attempt.at.timestamp()})
            pipe.zremrangebyrank(keys.DELIVERY_TARGETS, 0, -TARGETS_MAX - 1)
            pipe.expire(keys.DELIVERY_TARGETS, LOG_SECONDS)
            pipe.execute()

    def of_event(self, event: str) -> list[DeliveryAttempt]:
        """Return the attempts for an event (`Event.key`), latest first."""
        return _read(self._redis.lrange(_of_event(event), 0, -1))

    def of_target(self, target_id: str) -> list[DeliveryAttempt]:
        """Return the attempts for a target, latest first."""
        return _read(self._redis.lrange(_of_target(target_id), 0, -1))

    def targets(self) -> list[TargetSummary]:
        """Return the targets, the one with the latest attempt first."""
        found = [id.decode("utf-8", "replace") for id in self._redis.zrevrange(keys.DELIVERY_TARGETS, 0, -1)]
        with self._redis.pipeline(transaction=False) as pipe:
            for id in found:
                pipe.lrange(_of_target(id), 0, SUMMARY_ATTEMPTS - 1)
            logs = [_read(texts) for texts in pipe.execute()]
        return [_summary(id, attempts) for id, attempts in zip(found, logs, strict=True) if attempts]


def _of_event(event: str) -> str:
    return f"{keys.DELIVERY_LOG_PREFIX}event:{event}"


def _of_target(target_id: str) -> str:
    return f"{keys.DELIVERY_LOG_PREFIX}target:{target_id}"


def _summary(target_id: str, attempts: Sequence[DeliveryAttempt]) -> TargetSummary:
    failures = next((n for n, one in enumerate(attempts) if one.error is None), len(attempts))
    return TargetSummary(target_id, attempts[0], failures)


def _read(texts: Sequence[bytes]) -> list[DeliveryAttempt]:
    """Read the attempts that this version can read."""
    found = []
    for text in texts:
        try:
            found.append(DeliveryAttempt.model_validate_json(text))
        except ValidationError:
            continue
    return found
