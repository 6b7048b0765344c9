"""What routes use of the queue: submit, wait, look up, list, stream. No HTTP here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from moderator.errors import VerdictsMissed, VerdictTimeout
from moderator.events import Event
from moderator.gateway import api_keys
from moderator.gateway.api_keys import Admission, Credentials, Scope
from moderator.queue.async_queue import AsyncQueue
from moderator.queue.bounds import QueueBounds
from moderator.queue.commands import read_body
from moderator.queue.executors import AsyncExecutor
from moderator.queue.failures import failing_as, not_answered
from moderator.queue.object_writes import note_write
from moderator.queue.records import Acceptance
from moderator.settings import Settings
from moderator.submission import check_submission
from moderator.verdicts import Verdict


class Service:
    """The queue, for the routes of a gateway.

    Its methods raise `QueueUnavailable` if Redis does not answer.

    Args:
        settings: all of them.
        executor: runs the commands of the queue.
    """

    def __init__(self, settings: Settings, executor: AsyncExecutor) -> None:
        self.settings = settings
        bounds = QueueBounds(settings.queue_limit, settings.queue_bytes)
        self.queue = AsyncQueue(executor, settings.redeliver_after, bounds)
        self.stopping = asyncio.Event()
        """Set when the gateway stops: what waits or streams ends then."""
        self._executor = executor

    async def submit(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]:
        """Submit an event, or a bulk event with many images; return each with whether it is new.

        Raises:
            EventInvalid: it is no event, or one that no worker could judge.
            QueueFull: the queue has no room; nothing was accepted.
        """
        body, events = read_body(body)
        check_submission(events, self.settings.max_bytes, self.settings.buckets)
        return await self.queue.enter(body, events)

    async def wait(self, event_key: str, seconds: float) -> Verdict | None:
        """Wait for an event's verdict; None: it did not come in time."""
        try:
            return await self.queue.wait(event_key, seconds)
        except VerdictTimeout:
            return None

    async def verdict(self, event_key: str) -> Verdict | None:
        """Return the verdict of an event, or None if it has none yet, or no longer."""
        return await self.queue.verdict(event_key)

    async def admit(self, credentials: Credentials | None, scope: Scope) -> Admission:
        """Check a key (None: a request without one) and count a request against its rate."""
        with failing_as(not_answered):
            return await self._executor.run(api_keys.admit(credentials, scope, self.settings.gateway_rate))

    async def note_write(self, name: str, order: str) -> bool:
        """Note a write of an object, and return whether it is the latest that was noted; see `object_writes`."""
        with failing_as(not_answered):
            return await self._executor.run(note_write(name, order))

    def tail(
        self, after: str, on_gap: Callable[[VerdictsMissed], object]
    ) -> AsyncIterator[tuple[str, Verdict]]:
        """Yield verdicts from the stream after an entry, with the ids of their entries; see `AsyncQueue.tail`."""
        return self.queue.tail(after, on_gap=on_gap)
