"""Run the commands of many tasks over few connections, for a process that serves many requests at once.

What tasks ask while earlier commands are on their way goes to Redis in one round trip, and all listeners share one
connection. A command then costs a fraction of what it costs with a connection of its own.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from redis.exceptions import RedisError, ResponseError

from moderator.errors import RedisMisused
from moderator.queue.commands import Command
from moderator.queue.connection import CLIENT_CALL, AsyncRedis
from moderator.queue.deadline import block_seconds
from moderator.queue.executors import AsyncRedisExecutor, AsyncWait, no_answer
from moderator.queue.failures import typed
from moderator.queue.shared_listener import SharedListener

T = TypeVar("T")

#: Most commands in one round trip.
BATCH_COMMANDS_MAX = 200
#: Round trips under way at once: while one is answered, the next one is filled.
BATCHES_IN_FLIGHT_MAX = 2
#: Bytes of a word of a command above which it goes alone: others need not wait until an image is sent.
BATCHED_BYTES_MAX = 65_536


class SharedExecutor:
    """An `AsyncExecutor` for many tasks of one event loop.

    Args:
        client: connection; see `connect_async`.
        call: most seconds for a call, plus the time for which its command blocks in the server.
    """

    def __init__(self, client: AsyncRedis, call: float = CLIENT_CALL) -> None:
        self._alone = AsyncRedisExecutor(client, call)
        self._listener = SharedListener(client, call)
        self._call = call
        self._waiting: deque[tuple[Command[Any], asyncio.Future[Any]]] = deque()
        self._batches: set[asyncio.Task[None]] = set()

    async def run(self, command: Command[T]) -> T:
        """See `Executor.run`."""
        words = command.words()
        if block_seconds(words) or any(_is_large(word) for word in words):
            return await self._alone.run(command)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, answered))
        self._start()
        late = loop.call_later(self._call, self._give_up, answered)
        try:
            answer = await answered
        finally:
            late.cancel()
        if isinstance(answer, ResponseError):
            raise typed(answer) from answer
        return command.read(answer)

    async def run_each(self, commands: Sequence[Command[T]]) -> list[T | RedisMisused]:
        """See `Executor.run_each`."""
        return await self._alone.run_each(commands)

    def listen(self, channel: str) -> AbstractAsyncContextManager[AsyncWait]:
        """See `Executor.listen`."""
        return self._listener.listen(channel)

    async def close(self) -> None:
        """End what is under way."""
        for task in tuple(self._batches):
            task.cancel()
        await self._listener.close()

    def _give_up(self, answered: "asyncio.Future[Any]") -> None:
        if not answered.done():
            answered.set_exception(no_answer(self._call))

    def _start(self) -> None:
        if self._waiting and len(self._batches) < BATCHES_IN_FLIGHT_MAX:
            task = asyncio.create_task(self._send())
            self._batches.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._batches.discard(task)
        self._start()

    async def _send(self) -> None:
        """Send what waits, once; each task gets the answer to its own command."""
        batch: list[tuple[Command[Any], asyncio.Future[Any]]] = []
        while self._waiting and len(batch) < BATCH_COMMANDS_MAX:
            item = self._waiting.popleft()
            if not item[1].done():  # its task did not give up
                batch.append(item)
        try:
            answers = await self._alone.ask_each([command for command, _ in batch])
        except RedisError as error:
            for _, answered in batch:
                if not answered.done():
                    answered.set_exception(error)
            return
        except BaseException:
            for _, answered in batch:
                answered.cancel()
            raise
        for (_, answered), answer in zip(batch, answers, strict=True):
            if not answered.done():
                answered.set_result(answer)


def _is_large(word: Any) -> bool:
    return isinstance(word, str | bytes) and len(word) > BATCHED_BYTES_MAX
