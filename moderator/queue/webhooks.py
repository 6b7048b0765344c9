"""The outbox of webhooks: deliveries that are still to be made. Filled in the same step that publishes a verdict.

A delivery taken here is leased: if whoever took it dies, it becomes due again. So a webhook gets a verdict at
least once; receivers tell repeats by the `webhook-id` header.

A webhook that says that it is gone is disabled, for all workers: its deliveries are not made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

from moderator.errors import DeliveryUnreadable
from moderator.queue import names
from moderator.queue.connection import Redis

#: Seconds that whoever took a delivery has to make it.
LEASE = 120.0
#: Seconds for which a webhook stays disabled, unless it is enabled before: then it is asked once more.
DISABLED_FOR = 30 * 86_400.0
#: Disabled webhooks that are remembered, the latest ones: senders of events choose the URLs.
MOST_DISABLED = 10_000


@dataclass(frozen=True)
class Delivery:
    """A verdict on its way to a webhook. `key` is the event's key, `#` and a digest of the verdict.

    `age`: seconds since it was put here. `disabled`: whether its webhook gets no more deliveries.
    """

    key: str
    url: str
    body: bytes
    attempt: int
    age: float
    disabled: bool = False


class WebhookOutbox:
    """The outbox in one Redis.

    Args:
        client: connection.
    """

    def __init__(self, client: Redis) -> None:
        self._redis = client
        script = files("moderator.queue") / "lua" / "take_delivery.lua"
        self._take = client.register_script(script.read_text())

    def __len__(self) -> int:
        return int(self._redis.zcard(names.WEBHOOKS))

    def take(self) -> Delivery | None:
        """The next delivery that is due, or None.

        Raises:
            DeliveryUnreadable: one is due whose record is no delivery; the error has all that is known of it, to be
                buried and forgotten.
        """
        answer = self._take(
            keys=[names.WEBHOOKS, names.DISABLED_WEBHOOKS], args=[names.WEBHOOK_PREFIX, LEASE, DISABLED_FOR]
        )
        if answer is None:
            return None
        try:
            key, url, body, attempt, age, disabled = answer
            body.decode()  # it is signed as text
            return Delivery(
                key.decode(), url.decode(), body, int(attempt), max(0.0, float(age)), disabled != b""
            )
        except ValueError as error:
            # Too few parts, or text that is not UTF-8.
            raise DeliveryUnreadable(answer[0], *answer[1:3]) from error

    def done(self, delivery: Delivery) -> None:
        """The delivery was made, or given up: forget it."""
        self.forget(delivery.key.encode())

    def forget(self, key: bytes) -> None:
        """Forget the delivery of that key."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(names.WEBHOOKS, key)
            pipe.delete(names.WEBHOOK_PREFIX.encode() + key)
            pipe.execute()

    def later(self, delivery: Delivery, delay: float, *, counts: bool = True) -> None:
        """Try again after `delay` seconds; a try that was not made does not count."""
        seconds, micros = self._redis.time()
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(names.WEBHOOKS, {delivery.key: seconds + micros / 1e6 + delay}, xx=True)
            if not counts:
                pipe.hincrby(names.WEBHOOK_PREFIX + delivery.key, "attempts", -1)
            pipe.execute()

    def disable(self, url: str) -> None:
        """Make no more deliveries to a webhook."""
        seconds, micros = self._redis.time()
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(names.DISABLED_WEBHOOKS, {url: seconds + micros / 1e6})
            pipe.zremrangebyrank(names.DISABLED_WEBHOOKS, 0, -MOST_DISABLED - 1)
            pipe.execute()

    def enable(self, url: str) -> bool:
        """Deliver to a webhook again; returns whether it was disabled."""
        return bool(self._redis.zrem(names.DISABLED_WEBHOOKS, url))

    def disabled(self) -> Iterator[tuple[str, datetime]]:
        """Webhooks that get no more deliveries, and since when; the latest first."""
        for url, since in self._redis.zrevrange(names.DISABLED_WEBHOOKS, 0, -1, withscores=True):
            yield url.decode("utf-8", "replace"), datetime.fromtimestamp(since, tz=UTC)

    def count_disabled(self) -> int:
        """How many webhooks get no more deliveries."""
        return int(self._redis.zcard(names.DISABLED_WEBHOOKS))
