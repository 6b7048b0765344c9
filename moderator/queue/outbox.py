"""The outbox: verdicts not yet delivered to consumers. Filled in the same step that publishes a verdict.

Each consumer has its own list. Deliveries taken from it are leased: if the taker dies, they become due again. So a
consumer gets each verdict at least once, and recognises a repeat by the delivery's identity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moderator.errors import DeliveryUnreadable, RedisMisused
from moderator.events import split_key
from moderator.queue import keys
from moderator.queue.commands import Command
from moderator.queue.connection import Redis
from moderator.queue.evidence import Evidence
from moderator.queue.executors import RedisExecutor
from moderator.queue.subscriptions import outbox_names

#: Lease of taken deliveries in seconds: the time to make them.
DELIVERY_LEASE_SECONDS = 120.0
#: Deliveries whose age is checked for the metrics, from either end of a list.
LAG_SAMPLE_DELIVERIES = 100


@dataclass(frozen=True)
class Delivery:
    """A verdict on its way to a consumer."""

    key: str
    """The event's key, `#` and a digest of the verdict."""
    url: str
    """Destination; `""` for consumers other than webhooks."""
    body: bytes
    """The verdict, as JSON."""
    attempt: int
    age: float
    """Seconds since it entered the outbox."""
    evidence: Evidence | None = None
    """Basis of the verdict, for consumers that asked for it; None if the image could not be judged."""
    evidence_fields: tuple[bytes, bytes, bytes] | None = None
    """The same as it was written: a newer version may have written more than this one reads."""

    @property
    def identity(self) -> tuple[str, str, str]:
        """Source, event id and digest of the verdict: equal only for repeats of the same delivery."""
        event, _, digest = self.key.rpartition("#")
        source, id, _ = split_key(event)
        return source, id, digest


@dataclass(frozen=True)
class ConsumerLag:
    """How far a consumer is behind."""

    consumer: str
    waiting: int
    """Deliveries not made yet."""
    oldest_age: float
    """Seconds since the oldest of them entered the outbox; 0 for none."""
    missed: int
    """Verdicts not kept for it because it was at its limit, since the beginning."""


class Outbox:
    """The deliveries for one consumer, in one Redis.

    Args:
        client: connection.
        consumer: its name.
    """

    def __init__(self, client: Redis, consumer: str) -> None:
        self._redis = client
        self._due, self._prefix = outbox_names(consumer)
        self._executor = RedisExecutor(client)

    def __len__(self) -> int:
        return int(self._redis.zcard(self._due))

    def take(self, most: int) -> list[Delivery | DeliveryUnreadable]:
        """Take due deliveries, in one round trip.

        Returns for an unreadable record the error with all that is known of it, for the caller to bury and forget.
        """
        return self._executor.run(
            Command(
                "take_deliveries",
                [self._due],
                [self._prefix, DELIVERY_LEASE_SECONDS, most],
                lambda taken: [_read(fields) for fields in taken],
            )
        )

    def forget(self, keys: Sequence[str | bytes]) -> None:
        """Forget completed or abandoned deliveries, in one round trip."""
        if not keys:
            return
        members = [key.encode() if isinstance(key, str) else key for key in keys]
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(self._due, *members)
            pipe.unlink(*(self._prefix.encode() + member for member in members))
            pipe.execute()

    def postpone(self, deliveries: Sequence[Delivery], delay: float, *, counts: bool = True) -> None:
        """Make deliveries due again after `delay` seconds; `counts=False` if no attempt was made."""
        if not deliveries:
            return
        seconds, micros = self._redis.time()
        due = seconds + micros / 1e6 + delay
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(self._due, {delivery.key: due for delivery in deliveries}, xx=True)
            if not counts:
                for delivery in deliveries:
                    pipe.hincrby(self._prefix + delivery.key, "attempts", -1)
            pipe.execute()


def read_lags(client: Redis, consumers: Sequence[str]) -> tuple[ConsumerLag, ...]:
    """Return how far consumers are behind."""
    lists = [outbox_names(consumer) for consumer in consumers]
    lags = RedisExecutor(client).run_each([_lag(due, prefix) for due, prefix in lists])
    missed = client.hgetall(keys.OUTBOX_MISSED)
    return tuple(
        ConsumerLag(consumer, *lag, int(missed.get(due.encode(), 0)))
        for consumer, (due, _), lag in zip(consumers, lists, lags, strict=True)
        if not isinstance(lag, RedisMisused)  # which the publisher reports
    )


def _lag(due: str, prefix: str) -> Command[tuple[int, float]]:
    """Count the waiting deliveries, and look up the age of the oldest."""
    return Command(
        "outbox_lag",
        [due],
        [prefix, LAG_SAMPLE_DELIVERIES],
        lambda lag: (int(lag[0]), max(0.0, float(lag[1]))),
    )


def _read(fields: list[Any]) -> Delivery | DeliveryUnreadable:
    try:
        key, url, body, attempt, age, embedding, tensor, readings = fields
        body.decode()  # it is passed on as text
        basis = (embedding, tensor, readings) if embedding else None
        evidence = None if basis is None else Evidence.from_fields(*basis)
        return Delivery(key.decode(), url.decode(), body, int(attempt), max(0.0, float(age)), evidence, basis)
    except ValueError:  # too few parts, text that is not UTF-8, or no embedding
        return DeliveryUnreadable(fields[0], *fields[1:3])
