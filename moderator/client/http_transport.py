"""Calls of a client over the HTTP gateway, from threads or an event loop; both mirror each other line by line.

`http_requests` defines the calls. Redirects are not followed, and the environment's proxies are not used.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from itertools import count
from typing import Any, TypeVar

import httpcore2

from moderator.client import http_exchange, http_requests
from moderator.client.event_stream import EventStreamReader
from moderator.client.http_exchange import (
    BROKEN,
    POOL_OPTIONS,
    REQUEST_WAIT_SECONDS,
    STREAM_BROKEN,
    STREAM_STEADY_SECONDS,
    TRIES_MAX,
    Requests,
    check_body,
    failing_as_ours,
    poll_pause,
    stream_ended,
    to_answer,
    try_pause,
)
from moderator.client.http_requests import HttpAnswer, HttpCall, read_item
from moderator.client.transports import Accepted, OnGap
from moderator.errors import QueueFull, QueueUnavailable
from moderator.events import Event
from moderator.queue.commands import read_body
from moderator.queue.verdict_store import verdict_late
from moderator.verdicts import Verdict

T = TypeVar("T")


class HttpTransport:
    """See `Transport`.

    Args:
        url: of the gateway.
        api_key: sent with each request; None: none.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self._requests = Requests(url, api_key)
        self._pool = httpcore2.ConnectionPool(**POOL_OPTIONS)

    def validate(self, events: Sequence[Event]) -> None:
        """Refuse nothing: the gateway checks events by its own settings."""

    def accept(self, body: dict[str, Any]) -> Accepted:
        """See `Transport.accept`."""
        return self.enter(*read_body(body))

    def enter(self, body: dict[str, Any], events: list[Event]) -> Accepted:
        """See `Transport.enter`."""
        return self._send(http_requests.submission(body, events))

    def check(self, body: dict[str, Any], events: list[Event], timeout: float) -> Verdict:
        """See `Transport.check`."""
        started, asked = time.monotonic(), min(timeout, REQUEST_WAIT_SECONDS)
        found = self._send(http_requests.check(body, asked), asked)
        return found or self.wait(events[0].key, max(0.0, timeout - (time.monotonic() - started)))

    def verdict(self, event_key: str) -> Verdict | None:
        """See `Transport.verdict`."""
        return self._send(http_requests.verdict(event_key))

    def wait(self, event_key: str, timeout: float) -> Verdict:
        """See `Transport.wait`."""
        started = time.monotonic()
        while True:
            asked, pause = time.monotonic(), 0.0
            seconds = max(0.0, min(timeout - (asked - started), REQUEST_WAIT_SECONDS))
            try:
                found = self._send(http_requests.verdict(event_key, seconds), seconds)
                if found is not None:
                    return found
            except QueueFull as full:  # the key has used up its rate
                pause = full.retry_after
            waited = time.monotonic() - started
            if waited >= timeout:
                raise verdict_late(event_key, timeout)
            # A gateway may wait less than it is asked to, or not at all.
            if pause or time.monotonic() - asked < seconds / 2:
                time.sleep(poll_pause(waited, timeout, pause))

    def tail(self, after: str, on_gap: OnGap) -> Iterator[tuple[str, Verdict]]:
        """See `Transport.tail`. Connects again, for about a second, when the connection ends."""
        tried = 1
        while True:
            started = time.monotonic()
            try:
                for item in self._stream(after, on_gap):
                    after, tried = item[0], 1
                    yield item
            except QueueUnavailable as error:
                tried = 1 if time.monotonic() - started > STREAM_STEADY_SECONDS else tried
                if tried == TRIES_MAX or not isinstance(error.__cause__, STREAM_BROKEN):
                    raise
                time.sleep(try_pause(tried))
                tried += 1

    def _stream(self, after: str, on_gap: OnGap) -> Iterator[tuple[str, Verdict]]:
        """Yield what comes over one connection; raises `QueueUnavailable` at its end."""
        call, reader = http_requests.stream(after), EventStreamReader()
        with (
            failing_as_ours(),
            self._pool.stream(**self._requests.of(call, http_exchange.STREAM_SILENCE_SECONDS)) as response,
        ):
            if response.status != 200:
                call.read(self._read(response))
            for chunk in response.iter_stream():
                for event in reader.feed(chunk):
                    if (item := read_item(event, on_gap)) is not None:
                        yield item
        raise stream_ended()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _send(self, call: HttpCall[T], waits: float = 0.0) -> T:
        request = self._requests.of(call, http_exchange.ANSWER_SECONDS + waits)
        for tried in count(1):
            try:
                with failing_as_ours(), self._pool.stream(**request) as response:
                    answer = self._read(response)
                break
            except QueueUnavailable as error:
                if tried == TRIES_MAX or not isinstance(error.__cause__, BROKEN):
                    raise
                time.sleep(try_pause(tried))
        return call.read(answer)

    def _read(self, response: httpcore2.Response) -> HttpAnswer:
        body, deadline = bytearray(), time.monotonic() + http_exchange.ANSWER_SECONDS
        for chunk in response.iter_stream():
            body += chunk
            check_body(len(body), time.monotonic() > deadline)
        return to_answer(response, body)


class AsyncHttpTransport:
    """See `AsyncTransport`; arguments as for `HttpTransport`."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._requests = Requests(url, api_key)
        self._pool = httpcore2.AsyncConnectionPool(**POOL_OPTIONS)

    def validate(self, events: Sequence[Event]) -> None:
        """Refuse nothing: the gateway checks events by its own settings."""

    async def enter(self, body: dict[str, Any], events: list[Event]) -> Accepted:
        """See `Transport.enter`."""
        return await self._send(http_requests.submission(body, events))

    async def check(self, body: dict[str, Any], events: list[Event], timeout: float) -> Verdict:
        """See `Transport.check`."""
        started, asked = time.monotonic(), min(timeout, REQUEST_WAIT_SECONDS)
        found = await self._send(http_requests.check(body, asked), asked)
        return found or await self.wait(events[0].key, max(0.0, timeout - (time.monotonic() - started)))

    async def verdict(self, event_key: str) -> Verdict | None:
        """See `Transport.verdict`."""
        return await self._send(http_requests.verdict(event_key))

    async def wait(self, event_key: str, timeout: float) -> Verdict:
        """See `Transport.wait`."""
        started = time.monotonic()
        while True:
            asked, pause = time.monotonic(), 0.0
            seconds = max(0.0, min(timeout - (asked - started), REQUEST_WAIT_SECONDS))
            try:
                found = await self._send(http_requests.verdict(event_key, seconds), seconds)
                if found is not None:
                    return found
            except QueueFull as full:  # the key has used up its rate
                pause = full.retry_after
            waited = time.monotonic() - started
            if waited >= timeout:
                raise verdict_late(event_key, timeout)
            # A gateway may wait less than it is asked to, or not at all.
            if pause or time.monotonic() - asked < seconds / 2:
                await asyncio.sleep(poll_pause(waited, timeout, pause))

    async def tail(self, after: str, on_gap: OnGap) -> AsyncGenerator[tuple[str, Verdict], None]:
        """See `HttpTransport.tail`."""
        tried = 1
        while True:
            started = time.monotonic()
            try:
                async with aclosing(self._stream(after, on_gap)) as items:
                    async for item in items:
                        after, tried = item[0], 1
                        yield item
            except QueueUnavailable as error:
                tried = 1 if time.monotonic() - started > STREAM_STEADY_SECONDS else tried
                if tried == TRIES_MAX or not isinstance(error.__cause__, STREAM_BROKEN):
                    raise
                await asyncio.sleep(try_pause(tried))
                tried += 1

    async def _stream(self, after: str, on_gap: OnGap) -> AsyncGenerator[tuple[str, Verdict], None]:
        """Yield what comes over one connection; raises `QueueUnavailable` at its end."""
        call, reader = http_requests.stream(after), EventStreamReader()
        with failing_as_ours():
            async with self._pool.stream(
                **self._requests.of(call, http_exchange.STREAM_SILENCE_SECONDS)
            ) as response:
                if response.status != 200:
                    call.read(await self._read(response))
                async for chunk in response.aiter_stream():
                    for event in reader.feed(chunk):
                        if (item := read_item(event, on_gap)) is not None:
                            yield item
        raise stream_ended()

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def _send(self, call: HttpCall[T], waits: float = 0.0) -> T:
        request = self._requests.of(call, http_exchange.ANSWER_SECONDS + waits)
        for tried in count(1):
            try:
                with failing_as_ours():
                    async with self._pool.stream(**request) as response:
                        answer = await self._read(response)
                break
            except QueueUnavailable as error:
                if tried == TRIES_MAX or not isinstance(error.__cause__, BROKEN):
                    raise
                await asyncio.sleep(try_pause(tried))
        return call.read(answer)

    async def _read(self, response: httpcore2.Response) -> HttpAnswer:
        body, deadline = bytearray(), time.monotonic() + http_exchange.ANSWER_SECONDS
        async for chunk in response.aiter_stream():
            body += chunk
            check_body(len(body), time.monotonic() > deadline)
        return to_answer(response, body)
