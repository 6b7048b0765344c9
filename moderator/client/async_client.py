"""The client for an event loop: the twin of `Client`, line by line."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from moderator.client.retry_policy import RetryBudget
from moderator.client.submissions import (
    DEFAULT_SOURCE,
    EventFields,
    RememberedSources,
    Submitted,
    bulk_body,
    event_body,
    no_verdict,
    require_single,
    with_id,
)
from moderator.client.transports import (
    BEGINNING,
    Accepted,
    OnGap,
    check_cursor,
    open_async_transport,
    open_spool,
    open_transport,
)
from moderator.errors import ModeratorError, QueueUnavailable, VerdictTimeout
from moderator.events import Event, parse_message
from moderator.queue.commands import read_body
from moderator.queue.intake import Intake
from moderator.queue.records import Acceptance
from moderator.verdicts import Verdict

if TYPE_CHECKING:
    from moderator.settings import Settings

T = TypeVar("T")


class AsyncClient:
    """A `Client` for an event loop; arguments and errors are the same.

    Use it in an `async with` block, or await `close`. It works in the event loop in which it is first used.
    """

    def __init__(
        self,
        url: str | None = None,
        settings: "Settings | None" = None,
        *,
        api_key: str | None = None,
        retry_seconds: float = 0.0,
    ) -> None:
        from moderator.settings import load_settings

        self._settings = settings or load_settings()
        url = url or self._settings.redis_url
        self._transport = open_async_transport(url, self._settings, api_key)
        self._retry_seconds = retry_seconds
        self._sources = RememberedSources()
        # Disk and delivery are for threads, so what goes through a spool does, too.
        self._intake: Intake | None = None
        if (spool := open_spool(self._settings)) is not None:
            through = open_transport(url, self._settings, api_key)
            self._intake = Intake(through, spool, through.validate)
            self._close_intake = through.close

    async def submit(
        self,
        *,
        path: str | Path | None = None,
        url: str | None = None,
        key: str | None = None,
        inline: bytes | None = None,
        id: str | None = None,
        source: str = DEFAULT_SOURCE,
        policy: str | None = None,
        priority: str = "interactive",
        metadata: dict[str, Any] | None = None,
        webhook: str | None = None,
    ) -> Submitted:
        """Submit one image; see `Client.submit`."""
        body = event_body(
            path=path,
            url=url,
            key=key,
            inline=inline,
            id=id,
            source=source,
            policy=policy,
            priority=priority,
            metadata=metadata,
            webhook=webhook,
        )
        return Submitted(*await self.submit_event(body))

    async def submit_event(self, event: dict[str, Any]) -> tuple[Event, Acceptance]:
        """Submit an event as in the contract; see `Client.submit_event`."""
        return (await self._accept(require_single(event)))[0]

    async def submit_many(
        self,
        images: Sequence[dict[str, Any]],
        *,
        id: str | None = None,
        source: str = DEFAULT_SOURCE,
        policy: str | None = None,
        priority: str = "bulk",
        metadata: dict[str, Any] | None = None,
    ) -> list[Submitted]:
        """Submit many image references in one message; see `Client.submit_many`."""
        body = bulk_body(images, id=id, source=source, policy=policy, priority=priority, metadata=metadata)
        return [Submitted(*answer) for answer in await self._accept(body)]

    async def check(self, *, timeout: float = 60.0, **event: Unpack[EventFields]) -> Verdict:
        """Submit one image and wait for its verdict; see `Client.check`."""
        body, events = read_body(event_body(**event))
        self._transport.validate(events)
        self._sources.remember(events)
        return await self._waited(
            events[0], None, timeout, lambda left: self._transport.check(body, events, left)
        )

    def validate(self, event: dict[str, Any]) -> None:
        """Check an event, or a bulk event, without sending it; see `Client.validate`."""
        self._transport.validate(parse_message(event))

    async def wait(
        self, event_id: str | Submitted | Event, *, source: str | None = None, timeout: float = 60.0
    ) -> Verdict:
        """Wait for a verdict; see `Client.wait`."""
        key, _ = self._sources.find(event_id, source)
        return await self._waited(event_id, source, timeout, lambda left: self._transport.wait(key, left))

    async def verdict(
        self, event_id: str | Submitted | Event, *, source: str | None = None
    ) -> Verdict | None:
        """Return the verdict of an event, or None; see `Client.verdict`."""
        key, _ = self._sources.find(event_id, source)
        return await self._retried(lambda: self._transport.verdict(key))

    async def iter_verdicts(
        self, after: str = BEGINNING, *, on_gap: OnGap = None
    ) -> AsyncGenerator[tuple[str, Verdict], None]:
        """Yield all verdicts without end, each with a cursor that names it; see `Client.iter_verdicts`."""
        last = check_cursor(after)
        budget = RetryBudget(self._retry_seconds)
        while True:
            try:
                async with aclosing(self._transport.tail(last, on_gap)) as found:
                    async for cursor, verdict in found:
                        last = cursor
                        yield cursor, verdict
                        budget.renew()
            except QueueUnavailable as error:
                await asyncio.sleep(budget.pause_after(error))

    async def close(self) -> None:
        """Stop the background delivery of spooled events, and close the connections."""
        if self._intake is not None:
            await asyncio.to_thread(self._intake.close)
            self._close_intake()
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _accept(self, body: dict[str, Any]) -> Accepted:
        body = with_id(body)
        answers = await self._retried(lambda: self._enter(body))
        self._sources.remember(event for event, _ in answers)
        return answers

    async def _enter(self, body: dict[str, Any]) -> Accepted:
        if self._intake is not None:
            return await asyncio.to_thread(self._intake.accept, body)
        body, events = read_body(body)
        self._transport.validate(events)
        return await self._transport.enter(body, events)

    async def _waited(
        self,
        event_id: str | Submitted | Event,
        source: str | None,
        timeout: float,
        wait: Callable[[float], Awaitable[Verdict]],
    ) -> Verdict:
        """Call `wait` with the seconds that are left."""
        now = asyncio.get_running_loop().time
        end = now() + timeout
        try:
            return await self._retried(lambda: wait(max(0.0, end - now())))
        except VerdictTimeout as error:
            raise no_verdict(self._sources.find(event_id, source)[1], timeout) from error

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        budget = RetryBudget(self._retry_seconds)
        while True:
            try:
                return await call()
            except ModeratorError as error:
                await asyncio.sleep(budget.pause_after(error))
