"""An in-memory queue for tests of code that submits events, processes them, or reads verdicts.

It runs the same commands as a server and passes the same tests, so everything built on an executor works with it:

    server = MemoryServer()
    ledger = Ledger(server.executor, lease=30.0)
    ledger.accept({"id": "1", "image": {"path": "/a.jpg"}})
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from threading import RLock
from typing import Any, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from moderator.errors import RedisMisused
from moderator.queue.commands import Command
from moderator.queue.deadline import block_seconds
from moderator.queue.executors import AsyncExecutor, AsyncWait, Executor, Wait, read_each
from moderator.queue.failures import typed
from moderator.testing import memory_floods, memory_letters, memory_scripts
from moderator.testing.memory_scripts import entries_after, entry_id
from moderator.testing.memory_store import Hash, List, MemoryStore, SortedSet, Stream, String

T = TypeVar("T")

#: Seconds between two checks of a waiting caller.
POLL_SECONDS = 0.002


class MemoryServer:
    """The part of a Redis server that the queue uses, except groups of readers and taking from the outbox.

    Args:
        clock: seconds since the epoch, for leases and expiry.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.away = False
        """If set, all commands fail as if no server answered."""
        self.executor: Executor = _MemoryExecutor(self)
        self.async_executor: AsyncExecutor = _AsyncMemoryExecutor(self)
        self._store = MemoryStore(clock)
        self._lock = RLock()

    def answer(self, command: Command[Any]) -> Any:
        """Return the server's answer to a command.

        Raises:
            RedisConnectionError: the server is `away`.
            ResponseError: a key holds a value of the wrong type.
            NotImplementedError: only real servers know this command.
        """
        with self._lock:
            if self.away:
                raise RedisConnectionError("away")
            if command.name in _SCRIPTS:
                return _SCRIPTS[command.name](self._store, _encode(command.keys), _encode(command.args))
            if command.name not in _COMMANDS:
                raise NotImplementedError(f"{command.name}: use a server for what needs this command")
            return _COMMANDS[command.name](self._store, *_encode(command.args))

    def published(self, channel: str) -> int:
        """Return how many messages were published on a channel."""
        with self._lock:
            if self.away:
                raise RedisConnectionError("away")
            return self._store.published[channel.encode()]


class _MemoryExecutor:
    def __init__(self, server: MemoryServer) -> None:
        self._server = server

    def run(self, command: Command[T]) -> T:
        until = time.monotonic() + _blocks(command)
        while not (answer := _answer(self._server, command)) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return command.read(answer)

    def run_each(self, commands: Sequence[Command[T]]) -> list[T | RedisMisused]:
        return read_each(commands, [_try(self._server, command) for command in commands])

    @contextmanager
    def listen(self, channel: str) -> Iterator[Wait]:
        unread = _Unread(self._server, channel)

        def wait(seconds: float) -> None:
            until = time.monotonic() + seconds
            while not unread.take() and time.monotonic() < until:
                time.sleep(POLL_SECONDS)

        yield wait


class _AsyncMemoryExecutor:
    def __init__(self, server: MemoryServer) -> None:
        self._server = server

    async def run(self, command: Command[T]) -> T:
        until = time.monotonic() + _blocks(command)
        while not (answer := _answer(self._server, command)) and time.monotonic() < until:
            await asyncio.sleep(POLL_SECONDS)
        return command.read(answer)

    async def run_each(self, commands: Sequence[Command[T]]) -> list[T | RedisMisused]:
        return read_each(commands, [_try(self._server, command) for command in commands])

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[AsyncWait]:
        unread = _Unread(self._server, channel)

        async def wait(seconds: float) -> None:
            until = time.monotonic() + seconds
            while not unread.take() and time.monotonic() < until:
                await asyncio.sleep(POLL_SECONDS)

        yield wait


class _Unread:
    """The messages of a channel that a listener has not taken; the first one confirms the subscription."""

    def __init__(self, server: MemoryServer, channel: str) -> None:
        self._server, self._channel = server, channel
        self._taken = server.published(channel) - 1

    def take(self) -> bool:
        found = self._server.published(self._channel) > self._taken
        self._taken += found
        return found


def _blocks(command: Command[Any]) -> float:
    return 0.0 if command.name in _SCRIPTS else block_seconds(command.words())


def _answer(server: MemoryServer, command: Command[Any]) -> Any:
    try:
        return server.answer(command)
    except ResponseError as error:
        raise typed(error) from error


def _try(server: MemoryServer, command: Command[Any]) -> Any:
    try:
        return server.answer(command)
    except RedisError as error:
        return error


def _encode(words: Sequence[Any]) -> list[bytes]:
    return [word if isinstance(word, bytes) else str(word).encode() for word in words]


def _slice(found: Sequence[bytes], first: bytes, last: bytes) -> list[bytes]:
    end = int(last) + 1
    return list(found[int(first) : end if end > 0 else len(found) + end])


def _lindex(store: MemoryStore, key: bytes, index: bytes) -> bytes | None:
    found = store.find(key, List)
    return found[int(index)] if found else None


def _rpop(store: MemoryStore, key: bytes) -> bytes | None:
    found = store.find(key, List)
    return found.pop() if found else None


def _mget(store: MemoryStore, *keys: bytes) -> list[bytes | None]:
    return [store.find(key, String) if store.holds(key, String) else None for key in keys]


def _zadd_present(store: MemoryStore, key: bytes, option: bytes, score: bytes, member: bytes) -> int:
    assert option == b"XX"
    found = store.at(key, SortedSet)
    if member in found:
        found[member] = float(score)
    return 0


def _xread(store: MemoryStore, *words: bytes) -> list[Any]:
    count, key, after = words[1], words[-2], words[-1]
    stream = store.find(key, Stream) or Stream()
    found = entries_after(stream, after)[: int(count)]
    return [[key, [(entry_id(entry), fields) for entry, fields in found]]] if found else []


def _xrevrange(store: MemoryStore, key: bytes, *words: bytes) -> list[Any]:
    found = (store.find(key, Stream) or Stream()).entries[::-1][: int(words[-1])]
    return [(entry_id(entry), fields) for entry, fields in found]


_SCRIPTS: dict[str, Callable[..., Any]] = {
    script.__name__: script
    for script in (
        memory_floods.count_flood,
        memory_floods.turn_flood,
        memory_letters.bury,
        memory_letters.drop,
        memory_letters.redeliver,
        memory_letters.replay,
        memory_scripts.accept,
        memory_scripts.claim,
        memory_scripts.extend,
        memory_scripts.overdue,
        memory_scripts.publish,
        memory_scripts.read_on,
        memory_scripts.requeue,
        memory_scripts.retry,
        memory_scripts.revise,
    )
}

#: The Redis commands that the queue uses, and those with which tests change data.
_COMMANDS: dict[str, Callable[..., Any]] = {
    "DEL": lambda store, *keys: store.delete(*keys),
    "GET": lambda store, key: store.find(key, String),
    "HEXISTS": lambda store, key, field: field in (store.find(key, Hash) or ()),
    "HGET": lambda store, key, field: (store.find(key, Hash) or Hash()).get(field),
    "HGETALL": lambda store, key: Hash(store.find(key, Hash) or ()),
    "LINDEX": _lindex,
    "LRANGE": lambda store, key, first, last: _slice(list(store.find(key, List) or ()), first, last),
    "LLEN": lambda store, key: len(store.find(key, List) or ()),
    "MGET": _mget,
    "RPOP": _rpop,
    "SET": lambda store, key, value: store.set(key, value),
    "TIME": lambda store: (int(store.now()), int(store.now() % 1 * 1e6)),
    "TYPE": lambda store, key: store.kind(key),
    "XLEN": lambda store, key: len((store.find(key, Stream) or Stream()).entries),
    "XREAD": _xread,
    "XREVRANGE": _xrevrange,
    "ZADD": _zadd_present,
    "ZCARD": lambda store, key: len(store.find(key, SortedSet) or ()),
    "ZRANGE": lambda store, key, first, last: _slice(
        (store.find(key, SortedSet) or SortedSet()).ordered(), first, last
    ),
    "ZREVRANGE": lambda store, key, first, last: _slice(
        (store.find(key, SortedSet) or SortedSet()).ordered()[::-1], first, last
    ),
}
