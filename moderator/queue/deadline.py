"""One deadline for each call to Redis, shared by connecting, logging in, health checks, retries and replies.

A hanging server accepts connections and never answers. With a timeout for each step, the steps and their retries
multiply to minutes; here every wait ends when the call's time is up. Time spent moving data does not count, so a
large image over a slow line is no hang.
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

#: Most retries of a call whose connection failed, and the seconds before them: the first pause, the longest pause.
RETRIES, RETRY_PAUSE_FIRST_SECONDS, RETRY_PAUSE_MAX_SECONDS = 4, 0.05, 0.5
#: Bytes a second at which a transfer counts as moving.
TRANSFER_MIN_BYTES_PER_SECOND = 100_000
#: Bytes passed to the system at once, so that progress shows.
CHUNK_BYTES = 1 << 18
#: Most bytes in the send buffer: sent data arrives soon, so an answer can be expected.
SEND_BUFFER_BYTES = 1 << 19
#: Seconds of the shortest wait: data that has already arrived is read even when the time is up.
WAIT_MIN_SECONDS = 0.001
#: By how much a wait may differ from the time that is left.
TIMEOUT_TOLERANCE_SECONDS = 0.05

_BLOCKING = frozenset({"BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX"})


class _Deadline:
    """The deadline of a call, or of a part of one: never later than that of the whole (`outer`)."""

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
#: Whether this code runs within an attempt of a call. A failure ends the attempt; the whole call is retried.
_trying: ContextVar[bool] = ContextVar("trying", default=False)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit all calls to Redis in the block to this many seconds together; each keeps its own limit, too."""
    token = _current.set(_Deadline(seconds, _current.get()))
    try:
        yield
    finally:
        _current.reset(token)


class DeadlineRetry(Retry):
    """Retries a call while its time lasts.

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
        """Run a call for redis-py; see there for the arguments."""
        nested = _trying.get()
        whole = _Deadline(self._seconds, _current.get())
        token = _current.set(whole)
        failures = 0
        try:
            while True:
                try:
                    # The first attempt gets half of the time: its connection may be dead and a new one good.
                    return _try(do, whole if nested or failures else _Deadline(whole.left() / 2, whole))
                except self._supported_errors as error:
                    if is_retryable is not None and not is_retryable(error):
                        raise
                    failures += 1
                    if with_failure_count:
                        fail(error, failures)
                    else:
                        fail(error)
                    pause = exponential(failures, RETRY_PAUSE_FIRST_SECONDS, RETRY_PAUSE_MAX_SECONDS)
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
    """A socket that waits until the call's deadline, or for a timeout that the caller sets explicitly."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._default = self._timeout = self._set = sock.gettimeout()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def gettimeout(self) -> float | None:
        timeout: float | None = self._timeout
        return timeout

    def recv(self, size: int, flags: int = 0) -> bytes:
        data: bytes = self._sock.recv(size, flags) if flags else self._timed(self._sock.recv, size)
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
            self._limit(self._timeout)
            return move(argument)
        left = deadline.left()
        self._limit(None if left == math.inf else max(left, WAIT_MIN_SECONDS))
        start = time.monotonic()
        moved = move(argument)
        size = moved if isinstance(moved, int) else len(moved)
        deadline.extend(min(time.monotonic() - start, size / TRANSFER_MIN_BYTES_PER_SECOND))
        return moved

    def _limit(self, seconds: float | None) -> None:
        """Set the socket's timeout, unless it is nearly that already.

        Setting it is a system call during which another thread takes the interpreter: where many threads compute,
        that costs each command more than the command.
        """
        now = self._set
        if seconds != now and (
            seconds is None or now is None or abs(seconds - now) > min(TIMEOUT_TOLERANCE_SECONDS, seconds / 4)
        ):
            self._sock.settimeout(seconds)
            self._set = seconds


class _Timed:
    """Mixin for redis-py's connection classes: all waits end at the deadline, and unusable servers are refused."""

    handshake_metadata: Any
    _sock: Any
    _socket_connect_timeout: Any
    _socket_timeout: Any

    @property
    def socket_connect_timeout(self) -> float:
        """Half of the remaining time for one address: a host may have several, and the first may be dead."""
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
        """Connect in a thread: name lookup has no timeout."""
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
    """TCP, to the server that Sentinel names."""


def block_seconds(args: Sequence[Any]) -> float:
    """Return the seconds for which a command may block in the server: 0 for most, infinite if it has no limit."""
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
