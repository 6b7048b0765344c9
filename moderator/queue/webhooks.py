"""The outbox of webhooks: deliveries that are still to be made. Filled in the same step that publishes a verdict.

A delivery taken here is leased: if whoever took it dies, it becomes due again. So a webhook gets a verdict at
least once; receivers tell repeats by the `webhook-id` header.
"""

from dataclasses import dataclass

from moderator.queue import names
from moderator.queue.connection import Redis

#: Seconds that whoever took a delivery has to make it.
LEASE = 120.0

#: Takes the next due delivery and pushes its due time forward by the lease.
_TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)
if not due[1] then return nil end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), due[1])
local record = ARGV[1] .. due[1]
local attempt = redis.call('HINCRBY', record, 'attempts', 1)
local fields = redis.call('HMGET', record, 'url', 'body', 'since')
return {due[1], fields[1] or '', fields[2] or '', attempt, string.format('%.6f', now - (fields[3] or 0))}
"""


@dataclass(frozen=True)
class Delivery:
    """A verdict on its way to a webhook. `key` is the event's key, `#` and a digest of the verdict.

    `age`: seconds since it was put here.
    """

    key: str
    url: str
    body: bytes
    attempt: int
    age: float


class WebhookOutbox:
    """The outbox in one Redis.

    Args:
        client: connection.
    """

    def __init__(self, client: Redis) -> None:
        self._redis = client
        self._take = client.register_script(_TAKE)

    def __len__(self) -> int:
        return int(self._redis.zcard(names.WEBHOOKS))

    def take(self) -> Delivery | None:
        """The next delivery that is due, or None."""
        answer = self._take(keys=[names.WEBHOOKS], args=[names.WEBHOOK_PREFIX, LEASE])
        if answer is None:
            return None
        key, url, body, attempt, age = answer
        return Delivery(key.decode(), url.decode(), body, int(attempt), max(0.0, float(age)))

    def done(self, delivery: Delivery) -> None:
        """The delivery was made, or given up: forget it."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(names.WEBHOOKS, delivery.key)
            pipe.delete(names.WEBHOOK_PREFIX + delivery.key)
            pipe.execute()

    def later(self, delivery: Delivery, delay: float, *, counts: bool = True) -> None:
        """Try again after `delay` seconds; a try that was not made does not count."""
        seconds, micros = self._redis.time()
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(names.WEBHOOKS, {delivery.key: seconds + micros / 1e6 + delay}, xx=True)
            if not counts:
                pipe.hincrby(names.WEBHOOK_PREFIX + delivery.key, "attempts", -1)
            pipe.execute()
