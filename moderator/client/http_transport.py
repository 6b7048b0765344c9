"""Calls of a client over the HTTP gateway, from threads or an event loop; both mirror each other line by line.

`http_requests` defines the calls. Redirects are not followed, and the environment's proxies are not used.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

import httpcore2

from moderator.backoff import exponential
from moderator.client import http_requests
from moderator.client.event_stream import EventStreamReader
from moderator.client.http_requests import ANSWER_BYTES_MAX, GatewayAddress, HttpAnswer, HttpCall, read_item
from moderator.client.transports import Accepted, OnGap
from moderator.errors import NotAGateway, QueueUnavailable, SettingsError
from moderator.events import Event
from moderator.queue.commands import read_body
from moderator.queue.verdict_store import verdict_late
from moderator.verdicts import Verdict

T = TypeVar("T")

#: Seconds to connect, and in which a server takes or sends the next part, besides what it was asked to wait.
CONNECT_SECONDS, ANSWER_SECONDS = 2.5, 10.0
#: Most tries of a call whose connection broke, and the seconds between them: the first pause, the longest.
TRIES_MAX, TRY_PAUSE_FIRST_SECONDS, TRY_PAUSE_MAX_SECONDS = 4, 0.05, 0.5
#: Most seconds that one request asks the gateway to wait for a verdict.
REQUEST_WAIT_SECONDS = 25.0
#: Pause between two looks for a verdict: a share of the time waited so far, within these bounds.
POLL_SHARE, POLL_MIN_SECONDS, POLL_MAX_SECONDS = 0.1, 0.02, 1.0
#: Seconds without a byte after which a stream counts as broken; the gateway sends comments more often.
STREAM_SILENCE_SECONDS = 60.0

_POOL: dict[str, Any] = {"max_connections": None, "max_keepalive_connections": 32, "keepalive_expiry": 15.0}
_BROKEN = (httpcore2.NetworkError, httpcore2.RemoteProtocolError)

# At level DEBUG the library would log each header, and one of them is the key.
logging.getLogger("httpcore2").setLevel(logging.INFO)


class HttpTransport:
    """See `Transport`.

    Args:
        url: of the gateway.
        api_key: sent with each request; None: none.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self._requests = _Requests(url, api_key)
        self._pool = httpcore2.ConnectionPool(**_POOL)

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
        while (found := self.verdict(event_key)) is None:
            waited = time.monotonic() - started
            if waited >= timeout:
                raise verdict_late(event_key, timeout)
            time.sleep(_poll_pause(waited, timeout))
        return found

    def tail(self, after: str, on_gap: OnGap) -> Iterator[tuple[str, Verdict]]:
        """See `Transport.tail`. Raises `QueueUnavailable` when the connection ends."""
        call, reader = http_requests.stream(after), EventStreamReader()
        with _failures(), self._pool.stream(**self._requests.of(call, STREAM_SILENCE_SECONDS)) as response:
            if response.status != 200:
                call.read(self._read(response))
            for chunk in response.iter_stream():
                for event in reader.feed(chunk):
                    if (item := read_item(event)) is not None:
                        yield item
        raise _stream_ended()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _send(self, call: HttpCall[T], waits: float = 0.0) -> T:
        request = self._requests.of(call, ANSWER_SECONDS + waits)
        for tried in count(1):
            try:
                with _failures(), self._pool.stream(**request) as response:
                    answer = self._read(response)
                break
            except QueueUnavailable as error:
                if tried == TRIES_MAX or not isinstance(error.__cause__, _BROKEN):
                    raise
                time.sleep(exponential(tried, TRY_PAUSE_FIRST_SECONDS, TRY_PAUSE_MAX_SECONDS))
        return call.read(answer)

    def _read(self, response: httpcore2.Response) -> HttpAnswer:
        body, deadline = bytearray(), time.monotonic() + ANSWER_SECONDS
        for chunk in response.iter_stream():
            body += chunk
            _check_body(len(body), time.monotonic() > deadline)
        return _answer(response, body)


class AsyncHttpTransport:
    """See `AsyncTransport`; arguments as for `HttpTransport`."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._requests = _Requests(url, api_key)
        self._pool = httpcore2.AsyncConnectionPool(**_POOL)

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
        while (found := await self.verdict(event_key)) is None:
            waited = time.monotonic() - started
            if waited >= timeout:
                raise verdict_late(event_key, timeout)
            await asyncio.sleep(_poll_pause(waited, timeout))
        return found

    async def tail(self, after: str, on_gap: OnGap) -> AsyncIterator[tuple[str, Verdict]]:
        """See `HttpTransport.tail`."""
        call, reader = http_requests.stream(after), EventStreamReader()
        with _failures():
            async with self._pool.stream(**self._requests.of(call, STREAM_SILENCE_SECONDS)) as response:
                if response.status != 200:
                    call.read(await self._read(response))
                async for chunk in response.aiter_stream():
                    for event in reader.feed(chunk):
                        if (item := read_item(event)) is not None:
                            yield item
        raise _stream_ended()

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def _send(self, call: HttpCall[T], waits: float = 0.0) -> T:
        request = self._requests.of(call, ANSWER_SECONDS + waits)
        for tried in count(1):
            try:
                with _failures():
                    async with self._pool.stream(**request) as response:
                        answer = await self._read(response)
                break
            except QueueUnavailable as error:
                if tried == TRIES_MAX or not isinstance(error.__cause__, _BROKEN):
                    raise
                await asyncio.sleep(exponential(tried, TRY_PAUSE_FIRST_SECONDS, TRY_PAUSE_MAX_SECONDS))
        return call.read(answer)

    async def _read(self, response: httpcore2.Response) -> HttpAnswer:
        body, deadline = bytearray(), time.monotonic() + ANSWER_SECONDS
        async for chunk in response.aiter_stream():
            body += chunk
            _check_body(len(body), time.monotonic() > deadline)
        return _answer(response, body)


class _Requests:
    """What httpcore sends for a call."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._address = GatewayAddress.of(url)
        self._common = {"User-Agent": "moderator", "Accept-Encoding": "identity"}
        if api_key is not None:
            if not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key != ""):
                raise SettingsError(
                    "the API key has characters that no key has; pass it as `moderator keys` printed it"
                )
            self._common["Authorization"] = f"Bearer {api_key}"

    def of(self, call: HttpCall[Any], silence: float) -> dict[str, Any]:
        """Return the arguments of `ConnectionPool.stream`; the server may be silent for that many seconds."""
        body = (
            {}
            if call.body is None
            else {"Content-Type": "application/json", "Content-Length": str(len(call.body))}
        )
        times = {"connect": CONNECT_SECONDS, "read": silence, "write": ANSWER_SECONDS, "pool": ANSWER_SECONDS}
        return {
            "method": call.method,
            "url": self._address.url(call.target),
            "headers": {"Host": self._address.authority, **self._common, **body, **call.headers},
            "content": call.body,
            "extensions": {"timeout": times},
        }


@contextmanager
def _failures() -> Iterator[None]:
    """Replace an error of the connection with ours."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise QueueUnavailable(f"the gateway does not answer in time; {_AGAIN}") from error
    except _BROKEN as error:
        raise QueueUnavailable(f"the gateway cannot be reached ({error}); {_AGAIN}") from error
    except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
        raise SettingsError(
            f"this cannot be sent to the gateway as HTTP ({error}); check its URL and the key"
        ) from error


_AGAIN = "check its URL and that it runs, then try again: the same id is accepted once"


def _poll_pause(waited: float, timeout: float) -> float:
    pause = min(max(POLL_MIN_SECONDS, POLL_SHARE * waited), POLL_MAX_SECONDS)
    return max(0.0, min(pause, timeout - waited))


def _check_body(size: int, late: bool) -> None:
    if size > ANSWER_BYTES_MAX:
        raise NotAGateway(f"the answer has more than {ANSWER_BYTES_MAX} bytes; check the gateway's URL")
    if late:
        raise QueueUnavailable(f"the gateway does not answer in time; {_AGAIN}")


def _answer(response: httpcore2.Response, body: bytearray) -> HttpAnswer:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return HttpAnswer(response.status, headers, bytes(body))


def _stream_ended() -> QueueUnavailable:
    return QueueUnavailable("the gateway ended the stream; read on from the last cursor")
