"""One queue, used from threads or from an event loop: what the contract tests are written against."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

from moderator.errors import RedisMisused, VerdictsMissed
from moderator.events import Event
from moderator.queue.async_queue import AsyncQueue
from moderator.queue.bounds import QueueBounds
from moderator.queue.commands import Command, ask
from moderator.queue.dead_letter_store import DeadLetter, DeadLetters
from moderator.queue.executors import AsyncExecutor, Executor, Wait
from moderator.queue.ledger import Acceptance, Ledger
from moderator.queue.stats import QueueStats
from moderator.queue.subscriptions import NO_SUBSCRIPTIONS, Subscriptions
from moderator.queue.verdict_store import VerdictStore
from moderator.verdicts import Decision, Verdict

T = TypeVar("T")

LEASE = 0.3
#: How long verdicts that revise others are kept, and how many.
KEPT: dict[str, Any] = {"ttl": 60.0, "stream_length": 1000}


class Door(Protocol):
    """A way to the queue. What only workers do goes through `ledger` and `letters`, over the same executor."""

    executor: Executor
    ledger: Ledger
    letters: DeadLetters

    def accept(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]: ...
    def verdict(self, key: str) -> Verdict | None: ...
    def wait(self, key: str, timeout: float) -> Verdict: ...
    def position(self) -> str: ...
    def tail(
        self,
        after: str,
        follow: bool = False,
        on_gap: Callable[[VerdictsMissed], object] | None = None,
        most: int = 1000,
    ) -> list[tuple[str, Verdict]]: ...
    def revise(self, key: str, decision: Decision, **more: Any) -> Verdict: ...
    def dead_letters(self, newest: int | None = None) -> list[DeadLetter]: ...
    def dead_letter(self, key: str) -> DeadLetter | None: ...
    def replay(self, letter: DeadLetter) -> Acceptance: ...
    def drop(self, letter: DeadLetter) -> None: ...
    def stats(self) -> QueueStats: ...


class Threads:
    def __init__(
        self, executor: Executor, bounds: QueueBounds, subscriptions: Subscriptions = NO_SUBSCRIPTIONS
    ) -> None:
        self.executor = executor
        self.ledger = Ledger(executor, LEASE, bounds, subscriptions)
        self.letters = DeadLetters(executor, self.ledger)
        self._verdicts = VerdictStore(executor)
        self.accept = self.ledger.accept
        self.stats = self.ledger.stats
        self.revise = partial(self.ledger.revise, **KEPT)
        self.verdict = self._verdicts.get
        self.wait = self._verdicts.wait
        self.position = self._verdicts.position
        self.dead_letter = self.letters.get
        self.replay = self.letters.replay
        self.drop = self.letters.drop

    def tail(
        self,
        after: str,
        follow: bool = False,
        on_gap: Callable[[VerdictsMissed], object] | None = None,
        most: int = 1000,
    ) -> list[tuple[str, Verdict]]:
        found = self._verdicts.tail(after, follow=follow, on_gap=on_gap)
        return list(islice(found, most))

    def dead_letters(self, newest: int | None = None) -> list[DeadLetter]:
        return list(self.letters) if newest is None else self.letters.newest(newest)


class EventLoop:
    def __init__(
        self,
        executor: AsyncExecutor,
        bounds: QueueBounds,
        runner: asyncio.Runner,
        subscriptions: Subscriptions = NO_SUBSCRIPTIONS,
    ) -> None:
        self._runner = runner
        self._queue = AsyncQueue(executor, LEASE, bounds, subscriptions)
        self.executor = Blocking(executor, runner)
        self.ledger = Ledger(self.executor, LEASE, bounds, subscriptions)
        self.letters = DeadLetters(self.executor, self.ledger)
        self.accept = self._run(self._queue.accept)
        self.verdict = self._run(self._queue.verdict)
        self.wait = self._run(self._queue.wait)
        self.position = self._run(self._queue.position)
        self.dead_letter = self._run(self._queue.dead_letter)
        self.replay = self._run(self._queue.replay)
        self.drop = self._run(self._queue.drop)
        self.stats = self._run(self._queue.stats)
        self.revise = partial(self._run(self._queue.revise), **KEPT)

    def _run(self, call: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T]:
        return lambda *args, **more: self._runner.run(call(*args, **more))

    def tail(
        self,
        after: str,
        follow: bool = False,
        on_gap: Callable[[VerdictsMissed], object] | None = None,
        most: int = 1000,
    ) -> list[tuple[str, Verdict]]:
        return self._runner.run(_take(self._queue.tail(after, follow=follow, on_gap=on_gap), most))

    def dead_letters(self, newest: int | None = None) -> list[DeadLetter]:
        return self._runner.run(_take(self._queue.dead_letters(newest), 1000))


class Blocking:
    """An executor for threads over one of an event loop: the ledger's own code runs on it as it is."""

    def __init__(self, executor: AsyncExecutor, runner: asyncio.Runner) -> None:
        self._executor, self._runner = executor, runner

    def run(self, command: Command[T]) -> T:
        return self._runner.run(self._executor.run(command))

    def run_each(self, commands: Sequence[Command[T]]) -> list[T | RedisMisused]:
        return self._runner.run(self._executor.run_each(commands))

    @contextmanager
    def listen(self, channel: str) -> Iterator[Wait]:
        raise NotImplementedError


async def _take(found: AsyncIterator[T], most: int) -> list[T]:
    taken: list[T] = []
    async for item in found:
        taken.append(item)
        if len(taken) == most:
            break
    return taken


def redis(door: Door, name: str, *args: Any) -> Any:
    """What a server says to a command of its own: for what nobody does by way of the queue."""
    return door.executor.run(ask(name, *args, read=lambda answer: answer))
