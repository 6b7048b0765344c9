"""The sockets under the HTTP client: every address is checked, and every exchange is bounded.

A host name is resolved once, each address of the answer is checked, and the connection goes to one of these
addresses. So a name that resolves differently the next time (DNS rebinding) gains nothing. TLS still
verifies the certificate against the host name, because the layer above passes it on.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Thread
from typing import Any

import httpcore2
from httpcore2 import SOCKET_OPTION

from moderator.errors import FetchRefused
from moderator.fetching.addresses import Network, parse_address, why_refused

#: Resolves a host name and a port to addresses, e.g. "93.184.216.34"; raises OSError if there are none.
Resolver = Callable[[str, int], Sequence[str]]


@dataclass
class _Limits:
    deadline: float
    receivable: int


_limits: ContextVar[_Limits] = ContextVar("limits")


@contextmanager
def exchange_limits(seconds: float, max_received: int) -> Iterator[None]:
    """Limit the total time and received bytes of this thread's network operations inside the block.

    Bytes are counted on the wire (after TLS): the layers above do not count headers, interim responses and
    framing, of which a peer can send any amount.
    """
    token = _limits.set(_Limits(time.monotonic() + seconds, max_received))
    try:
        yield
    finally:
        _limits.reset(token)


def time_left() -> float:
    """Return the seconds until the deadline of the enclosing `exchange_limits`.

    Raises:
        httpcore2.ReadTimeout: the deadline has passed.
    """
    left = _limits.get().deadline - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("the deadline has passed")
    return left


def resolve(host: str, port: int) -> Sequence[str]:
    """Resolve a host with the system's resolver, which also accepts old spellings of IPv4 (`127.1`, `0x7f000001`)."""
    answer = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in answer))


class GuardedBackend(httpcore2.NetworkBackend):
    """Network backend that connects only to addresses on the public internet and in `networks`."""

    def __init__(self, networks: Sequence[Network] = (), resolver: Resolver = resolve) -> None:
        self._networks = tuple(networks)
        self._resolver = resolver
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of `host` that answers.

        Raises:
            FetchRefused: one of the host's addresses is not allowed.
            httpcore2.ConnectError, httpcore2.TimeoutException: no address, or none answered.
        """
        addresses = self._checked(host, port)
        failure: Exception = httpcore2.ConnectError("the name has no address")
        for tried, address in enumerate(addresses):
            # A silent address must leave time for the next one.
            share = time_left() / (len(addresses) - tried)
            try:
                stream = self._sockets.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _LimitedStream(stream)
        raise failure

    def _checked(self, host: str, port: int) -> list[str]:
        checked = []
        for text in self._resolve_in_time(host, port):
            address = parse_address(text)
            reason = why_refused(address, self._networks)
            if reason is not None:
                raise FetchRefused(
                    f"{host} has an address that is {reason}; if it is meant to be reached, "
                    "add its network to MODERATOR_FETCH_NETWORKS"
                )
            checked.append(str(address))
        return checked

    def _resolve_in_time(self, host: str, port: int) -> Sequence[str]:
        # The system's resolver has no timeout and may wait for half a minute, so it runs in a thread that we
        # can abandon.
        outcome: list[Sequence[str] | Exception] = []

        def ask() -> None:
            try:
                outcome.append(self._resolver(host, port))
            except (OSError, ValueError) as error:
                outcome.append(error)

        thread = Thread(target=ask, name="resolve", daemon=True)
        thread.start()
        thread.join(time_left())
        if not outcome:
            raise httpcore2.ConnectTimeout("the name was not resolved in time")
        if isinstance(outcome[0], Exception):
            raise httpcore2.ConnectError("the name cannot be resolved") from outcome[0]
        return outcome[0]


class _LimitedStream(httpcore2.NetworkStream):
    """A connection whose operations obey the `exchange_limits` of the calling thread.

    The layers above limit single operations, and a peer that sends one byte at a time never reaches such a limit.
    """

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, time_left())
        limits = _limits.get()
        limits.receivable -= len(data)
        if limits.receivable < 0:
            raise FetchRefused("the server sends more headers and framing than an answer needs")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # Not the wrapped `write`: it restarts its timeout for each part of the buffer that is sent.
        connection: socket.socket = self._stream.get_extra_info("socket")
        rest = memoryview(buffer)
        try:
            while rest:
                connection.settimeout(time_left())
                rest = rest[connection.send(rest) :]
        except TimeoutError as error:
            raise httpcore2.WriteTimeout(error) from error
        except OSError as error:
            raise httpcore2.WriteError(error) from error

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _LimitedStream(self._stream.start_tls(ssl_context, server_hostname, time_left()))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
