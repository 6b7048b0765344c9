"""What routes use of the queue: submit, wait, look up, list, stream. No HTTP here."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from moderator.errors import VerdictsMissed, VerdictTimeout
from moderator.events import Event
from moderator.gateway.admissions import Admissions
from moderator.gateway.api_keys import Admission, Credentials, Scope
from moderator.queue import commands
from moderator.queue.async_queue import AsyncQueue
from moderator.queue.bounds import QueueBounds
from moderator.queue.commands import Command
from moderator.queue.executors import AsyncExecutor
from moderator.queue.failures import failing_as, not_accepted, not_answered
from moderator.queue.records import Acceptance
from moderator.settings import Settings
from moderator.submission import check_submission
from moderator.verdicts import Verdict

if TYPE_CHECKING:
    from moderator.archive.archive_store import Archive

Accepted = list[tuple[Event, Acceptance]]

#: Characters of an inline image above which an event is checked and written in a thread, so that others go on.
THREAD_CHARACTERS_MIN = 500_000


class Service:
    """The queue, for the routes of a gateway.

    Its methods raise `QueueUnavailable` if Redis does not answer.

    Args:
        settings: all of them.
        executor: runs the commands of the queue.
    """

    def __init__(self, settings: Settings, executor: AsyncExecutor) -> None:
        self.settings = settings
        self.queue = AsyncQueue(executor, settings.redeliver_after)
        self.streams = 0
        """Streams of verdicts open now."""
        self._bounds = QueueBounds(settings.queue_limit, settings.queue_bytes)
        self._executor = executor
        self._admissions = Admissions(self.ask, settings.gateway_rate)
        self._stopping = asyncio.Event()
        self._stop: asyncio.Task[bool] | None = None

    async def submit(self, body: dict[str, Any]) -> Accepted:
        """Submit an event, or a bulk event with many images; return each with whether it is new.

        Raises:
            EventInvalid: it is no event, or one that no worker could judge.
            QueueFull: the queue has no room; nothing was accepted.
        """
        return await self._accept(*await self._prepare(body))

    async def submit_each(self, bodies: Sequence[dict[str, Any]]) -> list[Accepted | Exception]:
        """Submit many events or bulk events, each by itself; return what `submit` returns for each, or its error.

        Raises:
            EventInvalid: one of them is no event, or no worker could judge it; none was submitted.
        """
        prepared = [await self._prepare(body) for body in bodies]
        answers = await asyncio.gather(*(self._accept(*one) for one in prepared), return_exceptions=True)
        if serious := next((a for a in answers if not isinstance(a, list | Exception)), None):
            raise serious
        return [answer for answer in answers if isinstance(answer, list | Exception)]

    async def wait(self, event_key: str, seconds: float) -> Verdict | None:
        """Wait for an event's verdict; None: it did not come in time, or the gateway stops."""
        waiting = asyncio.create_task(self.queue.wait(event_key, seconds))
        try:
            await asyncio.wait({waiting, self.stopped()}, return_when=asyncio.FIRST_COMPLETED)
            return await waiting if waiting.done() else None
        except VerdictTimeout:
            return None
        finally:
            waiting.cancel()

    async def verdict(self, event_key: str) -> Verdict | None:
        """Return the verdict of an event, or None if it has none yet, or no longer."""
        return await self.queue.verdict(event_key)

    async def admit(self, credentials: Credentials | None, scope: Scope) -> Admission:
        """Check a key (None: a request without one) and count a request against its rate."""
        return await self._admissions.admit(credentials, scope)

    async def tail(
        self, after: str | None, on_gap: Callable[[VerdictsMissed], object]
    ) -> AsyncIterator[tuple[str, Verdict]]:
        """Yield verdicts from the stream after an entry (None: new ones), with the ids of their entries.

        See `AsyncQueue.tail`.
        """
        last = await self.queue.position() if after is None else after
        async for item in self.queue.tail(last, on_gap=on_gap):
            yield item

    async def ask(self, command: Command[Any]) -> Any:
        """Run a command that only asks."""
        with failing_as(not_answered):
            return await self._executor.run(command)

    async def ready(self) -> None:
        """Raise `QueueUnavailable` unless Redis answers."""
        await self.ask(commands.ask("PING", read=bool))

    def stop(self) -> None:
        """End what waits and streams: the gateway stops."""
        self._stopping.set()

    def stopped(self) -> "asyncio.Task[bool]":
        """Return what is done once the gateway stops."""
        if self._stop is None:
            self._stop = asyncio.create_task(self._stopping.wait())
        return self._stop

    @cached_property
    def archive(self) -> "Archive":
        """The archive of the settings. For threads: it waits for its database.

        Raises:
            ImportError, ExtraMissing: the extra for it is not installed.
        """
        from moderator.archive.archive_store import open_archive  # an extra

        return open_archive(self.settings)

    async def close(self) -> None:
        """End what is left."""
        if self._stop is not None:
            self._stop.cancel()
        if "archive" in self.__dict__:
            await asyncio.to_thread(self.archive.close)

    async def _prepare(self, body: dict[str, Any]) -> tuple[Event, Command[Accepted]]:
        if _inline_size(body) < THREAD_CHARACTERS_MIN:
            return self._command(body)
        return await asyncio.to_thread(self._command, body)

    def _command(self, body: dict[str, Any]) -> tuple[Event, Command[Accepted]]:
        """Return the first event of a message, and the command that accepts it."""
        body, events = commands.read_body(body)
        check_submission(events, self.settings.max_bytes, self.settings.buckets)
        return events[0], commands.accept(body, events, self.settings.redeliver_after, self._bounds)

    async def _accept(self, event: Event, command: Command[Accepted]) -> Accepted:
        with failing_as(lambda error: not_accepted(event, error)):
            return await self._executor.run(command)


def _inline_size(body: Any) -> int:
    """Return the characters of the images in an event that was not checked yet."""
    if not isinstance(body, dict):
        return 0
    images = body.get("images")
    references = images if isinstance(images, list) else [body.get("image")]
    texts = (reference.get("inline") for reference in references if isinstance(reference, dict))
    return sum(len(text) for text in texts if isinstance(text, str))
