"""Run commands in Redis, one at a time or many in one round trip, from threads or an event loop.

Both executors mirror each other line by line. `commands` defines the commands and what their answers mean.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, Protocol, TypeVar

from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from moderator.errors import RedisMisused
from moderator.queue.commands import Command
from moderator.queue.connection import CLIENT_CALL, AsyncRedis, Redis
from moderator.queue.deadline import block_seconds
from moderator.queue.failures import typed
from moderator.queue.scripts import script_text

T = TypeVar("T")

Wait = Callable[[float], object]
"""Wait for a message on a channel, for at most this many seconds."""
AsyncWait = Callable[[float], Awaitable[object]]


class Executor(Protocol):
    """Runs commands on whatever stores the queue. Thread-safe.

    Its methods raise:
        RedisMisused: a key holds foreign data; nothing has changed.
        RedisError: any other error of Redis.
    """

    def run(self, command: Command[T]) -> T:
        """Run a command and return its result."""
        ...

    def run_each(self, commands: Sequence[Command[T]]) -> list[T | RedisMisused]:
        """Run many commands in one round trip.

        Returns their results; for a command that changed nothing, its `RedisMisused`.
        """
        ...

    def listen(self, channel: str) -> AbstractContextManager[Wait]:
        """Listen to a channel. Yields a function that waits for a message; the first confirms the subscription."""
        ...


class AsyncExecutor(Protocol):
    """An `Executor` for an event loop."""

    async def run(self, command: Command[T]) -> T:
        """Run a command and return its result."""
        ...

    async def run_each(self, commands: Sequence[Command[T]]) -> list[T | RedisMisused]:
        """Run many commands in one round trip; see `Executor.run_each`."""
        ...

    def listen(self, channel: str) -> AbstractAsyncContextManager[AsyncWait]:
        """Listen to a channel; see `Executor.listen`."""
        ...


class RedisExecutor:
    """Runs commands through a redis-py client; see `connect`."""

    def __init__(self, client: Redis) -> None:
        self._redis = client

    def run(self, command: Command[T]) -> T:
        """See `Executor.run`."""
        words = command.words()
        try:
            try:
                answer = self._redis.execute_command(*words)
            except NoScriptError:
                self._redis.script_load(script_text(command.name))
                answer = self._redis.execute_command(*words)
        except ResponseError as error:
            raise typed(error) from error
        return command.read(answer)

    def run_each(self, commands: Sequence[Command[T]]) -> list[T | RedisMisused]:
        """See `Executor.run_each`."""
        answers = self._send(commands)
        if unknown := _unknown_scripts(commands, answers):
            for name in {commands[n].name for n in unknown}:
                self._redis.script_load(script_text(name))
            again = self._send([commands[n] for n in unknown])
            for n, answer in zip(unknown, again, strict=True):
                answers[n] = answer
        return read_each(commands, answers)

    def _send(self, commands: Sequence[Command[T]]) -> list[Any]:
        if not commands:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command.words())
            answers: list[Any] = pipe.execute(raise_on_error=False)
        return answers

    @contextmanager
    def listen(self, channel: str) -> Iterator[Wait]:
        """See `Executor.listen`."""
        with self._redis.pubsub(ignore_subscribe_messages=False) as pubsub:
            pubsub.subscribe(channel)
            yield lambda seconds: pubsub.get_message(timeout=seconds)


class AsyncRedisExecutor:
    """Runs commands through a redis-py asyncio client; see `connect_async`.

    Args:
        client: connection.
        call: most seconds for a call, plus the time for which its command blocks in the server.
    """

    def __init__(self, client: AsyncRedis, call: float = CLIENT_CALL) -> None:
        self._redis = client
        self._call = call

    async def run(self, command: Command[T]) -> T:
        """See `Executor.run`."""
        words = command.words()
        try:
            async with within_async(self._call + block_seconds(words)):
                try:
                    answer = await self._redis.execute_command(*words)
                except NoScriptError:
                    await self._redis.script_load(script_text(command.name))
                    answer = await self._redis.execute_command(*words)
        except ResponseError as error:
            raise typed(error) from error
        return command.read(answer)

    async def run_each(self, commands: Sequence[Command[T]]) -> list[T | RedisMisused]:
        """See `Executor.run_each`."""
        return read_each(commands, await self.ask_each(commands))

    async def ask_each(self, commands: Sequence[Command[T]]) -> list[Any]:
        """Return the raw answers to many commands, errors among them."""
        async with within_async(self._call):
            answers = await self._send(commands)
            if unknown := _unknown_scripts(commands, answers):
                for name in {commands[n].name for n in unknown}:
                    await self._redis.script_load(script_text(name))
                again = await self._send([commands[n] for n in unknown])
                for n, answer in zip(unknown, again, strict=True):
                    answers[n] = answer
        return answers

    async def _send(self, commands: Sequence[Command[T]]) -> list[Any]:
        if not commands:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command.words())
            answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[AsyncWait]:
        """See `Executor.listen`."""
        async with self._redis.pubsub(ignore_subscribe_messages=False) as pubsub:
            async with within_async(self._call):
                await pubsub.subscribe(channel)
            yield lambda seconds: pubsub.get_message(timeout=seconds)


@asynccontextmanager
async def within_async(seconds: float) -> AsyncIterator[None]:
    """Raise Redis' error for a missing answer if the block takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise no_answer(seconds) from error


def no_answer(seconds: float) -> RedisTimeoutError:
    """Return Redis' error for an answer that did not come in time."""
    return RedisTimeoutError(f"no answer within {seconds:g} s")


def _unknown_scripts(commands: Sequence[Command[T]], answers: Sequence[Any]) -> list[int]:
    """Return the positions of the commands that did nothing because the server does not know their script."""
    assert len(commands) == len(answers)
    return [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]


def read_each(commands: Sequence[Command[T]], answers: Sequence[Any]) -> list[T | RedisMisused]:
    """Return the results of commands; for one that changed nothing, its `RedisMisused`."""
    said: list[T | RedisMisused] = []
    for command, answer in zip(commands, answers, strict=True):
        error = typed(answer) if isinstance(answer, ResponseError) else answer
        if isinstance(error, RedisError):
            raise error
        said.append(error if isinstance(error, RedisMisused) else command.read(answer))
    return said
