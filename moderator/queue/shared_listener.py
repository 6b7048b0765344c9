"""One connection on which many tasks wait for messages, each on a channel of its own."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.exceptions import RedisError

from moderator.backoff import jittered
from moderator.queue.connection import AsyncRedis
from moderator.queue.executors import AsyncWait, within_async

log = logging.getLogger(__name__)

#: Seconds without a message after which the connection is checked, and again as long for the answer.
SILENCE_SECONDS = 10.0
#: Seconds between two attempts to connect.
RECONNECT_PAUSE_SECONDS = 0.2


class SharedListener:
    """Listens to channels; see `AsyncExecutor.listen`.

    While the connection is broken, waiting tasks are woken as if a message had come: they look, and wait again.

    Args:
        client: provides the connection.
        call: most seconds until a subscription is on its way.
    """

    def __init__(self, client: AsyncRedis, call: float) -> None:
        self._pool = client.connection_pool
        self._call = call
        self._bells: dict[bytes, set[asyncio.Event]] = {}
        self._confirmed: set[bytes] = set()
        self._connection: Any = None
        self._reader: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[AsyncWait]:
        """Listen to a channel; see `Executor.listen`."""
        name, bell = channel.encode(), asyncio.Event()
        self._bells.setdefault(name, set()).add(bell)
        if name in self._confirmed:
            bell.set()
        try:
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read_on(), name="listener")
            elif len(self._bells[name]) == 1:
                await self._say("SUBSCRIBE", name)

            async def wait(seconds: float) -> None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await bell.wait()
                bell.clear()

            yield wait
        finally:
            self._bells[name].discard(bell)
            if not self._bells[name]:
                del self._bells[name]
                self._confirmed.discard(name)
                await self._say("UNSUBSCRIBE", name)

    async def close(self) -> None:
        """Close the connection."""
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader

    async def _say(self, word: str, *names: bytes) -> None:
        """Send a command, unless the connection is broken: the reader subscribes to everything once it is not."""
        if (connection := self._connection) is None:
            return
        try:
            async with within_async(self._call):
                await connection.send_command(word, *names, check_health=False)
        except RedisError as error:
            log.warning("the connection on which verdicts are announced broke: %s", error)
            await connection.disconnect(nowait=True)

    async def _read_on(self) -> None:
        """Read messages for as long as somebody listens, over one connection after the other."""
        while self._bells:
            try:
                await self._read_connection()
            except RedisError as error:
                log.warning("verdicts are not announced here (%s); connecting again", error)
            finally:
                self._connection = None
                self._confirmed.clear()
            for name in self._bells:
                self._ring(name)
            await asyncio.sleep(jittered(RECONNECT_PAUSE_SECONDS))

    async def _read_connection(self) -> None:
        async with within_async(self._call):
            connection = await self._pool.get_connection()
        try:
            self._connection = (
                connection  # first: a channel that comes now is subscribed to by its own listener
            )
            if names := tuple(self._bells):
                await connection.send_command("SUBSCRIBE", *names, check_health=False)
            checked = False
            reading = asyncio.create_task(self._read_message(connection))
            try:
                while True:
                    done, _ = await asyncio.wait({reading}, timeout=SILENCE_SECONDS)
                    if done:
                        self._hear(reading.result())
                        checked = False
                        reading = asyncio.create_task(self._read_message(connection))
                    elif checked:
                        return
                    else:
                        checked = True
                        await self._say("PING")
            finally:
                reading.cancel()
                with suppress(asyncio.CancelledError, RedisError):
                    await reading
        finally:
            self._connection = None
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    async def _read_message(self, connection: Any) -> Any:
        return await connection.read_response(timeout=math.inf, disconnect_on_error=False, push_request=True)

    def _hear(self, message: Any) -> None:
        if not isinstance(message, list) or len(message) < 2 or message[1] not in self._bells:
            return
        if message[0] == b"subscribe":
            self._confirmed.add(message[1])
        if message[0] in (b"subscribe", b"message"):
            self._ring(message[1])

    def _ring(self, name: bytes) -> None:
        for bell in self._bells.get(name, ()):
            bell.set()
