"""One deadline for each call to Redis, which connecting, logging in, health checks, retries and replies share.

A server that hangs accepts connections and never answers. With a time-out for each step, the steps and their retries
multiply to minutes; here every wait ends when the call's time is up. What moves data buys back its time, so a large
image over a slow line is no hang.
"""

import math
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from itertools import pairwise
from threading import Thread
from typing import Any, TypeVar

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import SentinelManagedConnection

from moderator.backoff import exponential
from moderator.errors import SettingsError

T = TypeVar("T")

#: How often a call is tried again after its connection failed, and the seconds before: the first pause, the longest.
RETRIES, RETRY_PAUSE_FIRST_SECONDS, RETRY_REFRESHES_SKIPPED_MAX = 4, 0.05, 0.5
#: Bytes a second from which on a transfer counts as moving.
TRANSFER_MIN_BYTES_PER_SECOND = 100_000
#: Bytes handed to the system at once, so that progress is seen.
CHUNK_BYTES = 1 << 18
#: Bytes that may be on their way unseen, so that what was sent is soon there, and an answer can be expected.
SEND_BUFFER_BYTES = 1 << 19
#: Seconds of the shortest wait: what is there already is read even when the time is up.
WAIT_MIN_SECONDS = 0.001

_BLOCKING = frozenset({"BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX"})


class _Deadline:
    """The end of a call, or of a part of one: never later than that of the whole (`outer`)."""

    def __init__(self, seconds: float, outer: "_Deadline | None" = None) -> None:
        self._end = time.monotonic() + seconds
        self._outer = outer

    def left(self) -> float:
        own = self._end - time.monotonic()
        return own if self._outer is None else min(own, self._outer.left())

    def extend(self, seconds: float) -> None:
        self._end += seconds
        if self._outer is not None:
            self._outer.extend(seconds)


_current: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)
#: Whether we are within one try of a call. What fails in it fails the try: the call as a whole is tried again.
_trying: ContextVar[bool] = ContextVar("trying", default=False)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give all calls to Redis in the block so many seconds together; each has its own limit, too."""
    token = _current.set(_Deadline(seconds, _current.get()))
    try:
        yield
    finally:
        _current.reset(token)


class DeadlineRetry(Retry):
    """Tries a call again while its time lasts.

    Args:
        seconds: for a whole call.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(NoBackoff(), RETRIES)
        self._seconds = seconds

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """As redis-py calls it; see there for the arguments."""
        nested = _trying.get()
        whole = _Deadline(self._seconds, _current.get())
        token = _current.set(whole)
        failures = 0
        try:
            while True:
                try:
                    # Half of the time for the first try: its connection may be dead, and a new one good.
                    return _try(do, whole if nested or failures else _Deadline(whole.left() / 2, whole))
                except self._supported_errors as error:
                    if is_retryable is not None and not is_retryable(error):
                        raise
                    failures += 1
                    if with_failure_count:
                        fail(error, failures)
                    else:
                        fail(error)
                    pause = exponential(failures, RETRY_PAUSE_FIRST_SECONDS, RETRY_REFRESHES_SKIPPED_MAX)
                    if nested or failures > self._retries or pause >= whole.left():
                        raise
                    time.sleep(pause)
        finally:
            _current.reset(token)


def _try(do: Callable[[], T], limit: _Deadline) -> T:
    deadline, trying = _current.set(limit), _trying.set(True)
    try:
        return do()
    finally:
        _trying.reset(trying)
        _current.reset(deadline)


class _TimedSocket:
    """A socket that waits until the deadline of the call; where the caller sets a time-out of its own, so long."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._default = self._timeout = sock.gettimeout()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def gettimeout(self) -> float | None:
        timeout: float | None = self._timeout
        return timeout

    def recv(self, size: int) -> bytes:
        data: bytes = self._timed(self._sock.recv, size)
        return data

    def recv_into(self, buffer: Any) -> int:
        size: int = self._timed(self._sock.recv_into, buffer)
        return size

    def sendall(self, data: Any) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._timed(self._sock.send, rest[:CHUNK_BYTES]) :]

    def _timed(self, move: Callable[[Any], Any], argument: Any) -> Any:
        deadline = _current.get()
        if deadline is None or self._timeout != self._default:
            self._sock.settimeout(self._timeout)
            return move(argument)
        left = deadline.left()
        self._sock.settimeout(None if left == math.inf else max(left, WAIT_MIN_SECONDS))
        start = time.monotonic()
        moved = move(argument)
        size = moved if isinstance(moved, int) else len(moved)
        deadline.extend(min(time.monotonic() - start, size / TRANSFER_MIN_BYTES_PER_SECOND))
        return moved


class _Timed:
    """Over a connection class of redis-py: all waits end with the deadline; a server that we cannot use is refused."""

    handshake_metadata: Any
    _sock: Any
    _socket_connect_timeout: Any
    _socket_timeout: Any

    @property
    def socket_connect_timeout(self) -> float:
        """Half of what is left for one address: a host may have several, and the first may be dead."""
        deadline = _current.get()
        if deadline is None:
            seconds: float = self._socket_connect_timeout
        else:
            seconds = max(WAIT_MIN_SECONDS, min(self._socket_connect_timeout, deadline.left() / 2))
        return seconds

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: float) -> None:
        self._socket_connect_timeout = value

    def connect(self) -> None:
        if self._sock is None:  # asked before each command
            super().connect()  # type: ignore[misc]

    def _connect(self) -> _TimedSocket:
        """Connect in a thread: looking up a name has no time-out."""
        deadline = _current.get()
        seconds = self._socket_timeout if deadline is None else max(WAIT_MIN_SECONDS, deadline.left())
        done: Future[Any] = Future()
        connect = super()._connect  # type: ignore[misc]

        def run() -> None:
            try:
                sock = connect()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(sock)

        Thread(target=copy_context().run, args=(run,), name="connect", daemon=True).start()
        try:
            return _TimedSocket(done.result(seconds))
        except TimeoutError as error:
            done.add_done_callback(_close)
            where = self._host_error()  # type: ignore[attr-defined]
            raise RedisTimeoutError(f"no connection to {where} in time") from error

    def send_command(self, *args: Any, **options: Any) -> None:
        if (seconds := block_seconds(args)) and (deadline := _current.get()) is not None:
            deadline.extend(seconds)
        super().send_command(*args, **options)  # type: ignore[misc]

    def on_connect_check_health(self, check_health: bool = True) -> None:
        super().on_connect_check_health(check_health=check_health)  # type: ignore[misc]
        hello = self.handshake_metadata or {}
        if hello.get(b"mode", hello.get("mode")) in (b"cluster", "cluster"):
            self.disconnect()  # type: ignore[attr-defined]
            raise SettingsError(
                "MODERATOR_REDIS_URL names a Redis Cluster, which cannot keep an event and its verdict in one step; "
                "use a server with `cluster-enabled no`, or a primary and replicas with sentinel://"
            )


class TimedConnection(_Timed, Connection):  # type: ignore[misc]
    """TCP."""


class TimedSSLConnection(_Timed, SSLConnection):  # type: ignore[misc]
    """TLS."""


class TimedUnixConnection(_Timed, UnixDomainSocketConnection):  # type: ignore[misc]
    """A unix socket."""


class TimedSentinelConnection(_Timed, SentinelManagedConnection):  # type: ignore[misc]
    """TCP, to where Sentinel says."""


def block_seconds(args: Sequence[Any]) -> float:
    """Return for how long a command may wait in the server before it answers; infinite for ever, 0 for most."""
    name = str(args[0]).upper()
    seconds: float | None = None
    if name in ("XREAD", "XREADGROUP"):
        options = (float(ms) / 1000 for word, ms in pairwise(args) if word in (b"BLOCK", "BLOCK"))
        seconds = next(options, None)
    elif name in _BLOCKING:
        seconds = float(args[-1])
    return 0.0 if seconds is None else seconds or math.inf


def _close(connected: "Future[Any]") -> None:
    """Close a connection that came too late."""
    if connected.exception() is None:
        connected.result().close()
