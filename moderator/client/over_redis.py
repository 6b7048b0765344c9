"""What a client offers only over Redis."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from moderator.client.transports import OnGap, Transport
from moderator.errors import OnlyOverRedis
from moderator.queue.connection import Redis
from moderator.queue.consumer import TAKE_OVER_AFTER_SECONDS, Consumer
from moderator.verdicts import Verdict

if TYPE_CHECKING:
    from moderator.client.redis_transport import RedisTransport
    from moderator.queue.dead_letter_store import DeadLetters
    from moderator.queue.ledger import Ledger
    from moderator.queue.verdict_store import VerdictStore


class OverRedis:
    """Parts of a `Client` that raise `OnlyOverRedis` where it reaches the service over HTTP."""

    _transport: Transport

    def consume(
        self,
        group: str,
        consumer: str,
        *,
        idle: float = TAKE_OVER_AFTER_SECONDS,
        on_gap: OnGap = None,
    ) -> Iterator[Verdict]:
        """Yield verdicts as one of a group of consumers: each goes to one, at least once; see `Consumer.verdicts`.

        Raises:
            OnlyOverRedis: this client uses HTTP.
        """
        return Consumer(self.redis, group, consumer, idle, on_gap).verdicts()

    @property
    def redis(self) -> Redis:
        """The connection to Redis."""
        return self._over_redis.redis

    @property
    def ledger(self) -> "Ledger":
        """The events without a verdict."""
        return self._over_redis.ledger

    @property
    def verdicts(self) -> "VerdictStore":
        """The verdicts that are kept."""
        return self._over_redis.verdicts

    @property
    def dead_letters(self) -> "DeadLetters":
        """The events and deliveries that failed for good."""
        return self._over_redis.dead_letters

    @property
    def _over_redis(self) -> "RedisTransport":
        from moderator.client.redis_transport import RedisTransport

        if not isinstance(self._transport, RedisTransport):
            raise OnlyOverRedis("the gateway does not offer this; make the client with the URL of Redis")
        return self._transport
