"""Calls of a client over Redis itself, by the same commands as the worker."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from moderator.client.transports import NEWEST, Accepted, OnGap
from moderator.events import Event
from moderator.queue.async_queue import AsyncQueue
from moderator.queue.bounds import QueueBounds
from moderator.queue.connection import SentinelLogin, connect, connect_async
from moderator.queue.dead_letter_store import DeadLetters
from moderator.queue.deadline import within
from moderator.queue.executors import RedisExecutor
from moderator.queue.failures import failing_as, not_answered
from moderator.queue.intake import CALL_SECONDS
from moderator.queue.ledger import Ledger
from moderator.queue.shared_executor import SharedExecutor
from moderator.queue.verdict_store import VerdictStore
from moderator.submission import check_submission
from moderator.verdicts import Verdict

if TYPE_CHECKING:
    from moderator.settings import Settings

#: Seconds after a wait has timed out in which Redis may still answer.
ANSWER_GRACE_SECONDS = 2.0


class RedisTransport:
    """See `Transport`."""

    def __init__(self, url: str, settings: "Settings") -> None:
        self.redis = connect(url, sentinels=SentinelLogin.of(settings))
        executor = RedisExecutor(self.redis)
        bounds = QueueBounds(settings.queue_limit, settings.queue_bytes)
        self.ledger = Ledger(executor, settings.redeliver_after, bounds)
        self.verdicts = VerdictStore(executor)
        self.dead_letters = DeadLetters(executor, self.ledger)
        self.validate = partial(check_submission, max_bytes=settings.max_bytes, buckets=settings.buckets)

    def accept(self, body: dict[str, Any]) -> Accepted:
        """See `Transport.accept`."""
        return self.ledger.accept(body)

    def enter(self, body: dict[str, Any], events: list[Event]) -> Accepted:
        """See `Transport.enter`."""
        return self.ledger.enter(body, events)

    def check(self, body: dict[str, Any], events: list[Event], timeout: float) -> Verdict:
        """See `Transport.check`."""
        with within(CALL_SECONDS):
            self.enter(body, events)
        return self.wait(events[0].key, timeout)

    def verdict(self, event_key: str) -> Verdict | None:
        """See `Transport.verdict`."""
        with failing_as(not_answered):
            return self.verdicts.get(event_key)

    def wait(self, event_key: str, timeout: float) -> Verdict:
        """See `Transport.wait`."""
        with failing_as(not_answered), within(timeout + ANSWER_GRACE_SECONDS):
            return self.verdicts.wait(event_key, timeout)

    def tail(self, after: str, on_gap: OnGap) -> Iterator[tuple[str, Verdict]]:
        """See `Transport.tail`."""
        with failing_as(not_answered):
            start = self.verdicts.position() if after == NEWEST else after
            yield from self.verdicts.tail(start, on_gap=on_gap)

    def close(self) -> None:
        """Close the connections."""
        self.redis.close()


class AsyncRedisTransport:
    """See `AsyncTransport`."""

    def __init__(self, url: str, settings: "Settings") -> None:
        self.redis = connect_async(url, sentinels=SentinelLogin.of(settings))
        self._executor = SharedExecutor(self.redis)
        bounds = QueueBounds(settings.queue_limit, settings.queue_bytes)
        self.queue = AsyncQueue(self._executor, settings.redeliver_after, bounds)
        self._max_bytes, self._buckets = settings.max_bytes, settings.buckets

    def validate(self, events: Sequence[Event]) -> None:
        """See `Transport.validate`."""
        check_submission(events, self._max_bytes, self._buckets)

    async def enter(self, body: dict[str, Any], events: list[Event]) -> Accepted:
        """See `Transport.enter`."""
        return await self.queue.enter(body, events)

    async def check(self, body: dict[str, Any], events: list[Event], timeout: float) -> Verdict:
        """See `Transport.check`."""
        await self.enter(body, events)
        return await self.wait(events[0].key, timeout)

    async def verdict(self, event_key: str) -> Verdict | None:
        """See `Transport.verdict`."""
        return await self.queue.verdict(event_key)

    async def wait(self, event_key: str, timeout: float) -> Verdict:
        """See `Transport.wait`."""
        return await self.queue.wait(event_key, timeout)

    async def tail(self, after: str, on_gap: OnGap) -> AsyncGenerator[tuple[str, Verdict], None]:
        """See `Transport.tail`."""
        start = await self.queue.position() if after == NEWEST else after
        async for entry, verdict in self.queue.tail(start, on_gap=on_gap):
            yield entry, verdict

    async def close(self) -> None:
        """Close the connections."""
        await self._executor.close()
        await self.redis.aclose()
