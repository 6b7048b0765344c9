"""Webhooks that answered that they are gone: no worker delivers to them."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from moderator.queue import keys
from moderator.queue.connection import Redis
from moderator.queue.delivery_log import find_target, target_id

#: Seconds for which a webhook stays disabled unless it is enabled earlier; after that it is tried once more.
DISABLED_SECONDS = 30 * 86_400.0
#: Most disabled webhooks remembered, the latest ones: senders of events choose the URLs.
MAX_DISABLED = 10_000


class DisabledWebhooks:
    """The disabled webhooks in one Redis.

    Args:
        client: connection.
    """

    def __init__(self, client: Redis) -> None:
        self._redis = client

    def __len__(self) -> int:
        return int(self._redis.zcard(keys.DISABLED_WEBHOOKS))

    def __iter__(self) -> Iterator[tuple[str, datetime]]:
        """Yield the URL and the time of each, latest first."""
        for url, since in self._redis.zrevrange(keys.DISABLED_WEBHOOKS, 0, -1, withscores=True):
            yield url.decode("utf-8", "replace"), datetime.fromtimestamp(since, tz=UTC)

    def among(self, urls: Sequence[str]) -> set[str]:
        """Return the URLs that are disabled now."""
        if not urls:
            return set()
        forgotten = self._redis.time()[0] - DISABLED_SECONDS
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zremrangebyscore(keys.DISABLED_WEBHOOKS, "-inf", forgotten)
            pipe.zmscore(keys.DISABLED_WEBHOOKS, urls)
            _, since = pipe.execute()
        return {url for url, at in zip(urls, since, strict=True) if at is not None}

    def add(self, url: str) -> None:
        """Disable a webhook."""
        seconds, micros = self._redis.time()
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(keys.DISABLED_WEBHOOKS, {url: seconds + micros / 1e6})
            pipe.zremrangebyrank(keys.DISABLED_WEBHOOKS, 0, -MAX_DISABLED - 1)
            pipe.execute()

    def remove(self, target: str) -> bool:
        """Enable a webhook again, by its URL or the digest of it; return whether it was disabled."""
        urls = [url for url, _ in self if find_target(target) == target_id(url)]
        return bool(urls and self._redis.zrem(keys.DISABLED_WEBHOOKS, *urls))
