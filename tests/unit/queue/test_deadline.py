"""How long a call takes where nothing answers. Only `EmbeddedServer` is a real server."""

import math
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from moderator.queue.connection import Redis, connect
from moderator.queue.deadline import DeadlineRetry, block_seconds, within
from moderator.queue.embedded_server import EmbeddedServer, free_port
from tests.support.service import stopped
from tests.support.silent_server import SilentServer

CALL = 1.0
#: Seconds that a slow machine may take on top.
SLACK = 0.7


def took(call: Callable[[], object], error: type[Exception] = RedisError) -> float:
    start = time.monotonic()
    with pytest.raises(error):
        call()
    return time.monotonic() - start


@pytest.fixture(params=[False, True], ids=["swallows", "takes-no-connection"])
def silent(request: pytest.FixtureRequest) -> Iterator[SilentServer]:
    server = SilentServer(full=request.param)
    yield server
    server.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("server")) as server:
        yield server


CALLS: dict[str, Callable[[Redis], object]] = {
    "command": lambda redis: redis.ping(),
    "script": lambda redis: redis.register_script("return 1")(),
    "pipeline": lambda redis: redis.pipeline().ping().execute(),
    "subscription": lambda redis: redis.pubsub().subscribe("x"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_on_a_new_connection_ends_in_its_time(
    silent: SilentServer, call: Callable[[Redis], object]
) -> None:
    assert took(lambda: call(connect(silent.url, call=CALL))) < CALL + SLACK


@pytest.mark.parametrize(
    "url",
    [
        "rediss://127.0.0.1:{port}/0",
        "redis://me:secret@127.0.0.1:{port}/3",
        "sentinel://127.0.0.1:{port}/uploads",
    ],
)
def test_so_does_one_that_first_has_to_log_in(silent: SilentServer, url: str) -> None:
    assert took(lambda: connect(url.format(port=silent.port), call=CALL).ping()) < CALL + SLACK


@pytest.mark.parametrize("call", [CALLS[name] for name in ("command", "script", "pipeline")])
@pytest.mark.parametrize("checked", [False, True], ids=["used-just-now", "due-for-a-health-check"])
def test_so_does_one_on_an_open_connection(
    server: EmbeddedServer, call: Callable[[Redis], object], checked: bool
) -> None:
    redis = connect(server.url, call=CALL)
    redis.ping()
    if checked:
        for connection in redis.connection_pool._available_connections:
            connection.next_health_check = 0
    with stopped(server):
        assert took(lambda: call(redis)) < CALL + SLACK
    assert redis.ping()


def test_a_name_that_nobody_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> list[Any]:
        time.sleep(5)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert took(lambda: connect("redis://redis.test/0", call=CALL).ping(), RedisTimeoutError) < CALL + SLACK


def test_a_dead_address_of_a_host_leaves_time_for_the_next(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = SilentServer(full=True)
    alive = int(server.url.rpartition(":")[2].partition("/")[0])
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (dead.port, alive)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
    assert connect("redis://redis.test/0", call=4 * CALL).ping()
    dead.close()


def test_dead_sentinels_leave_time_for_the_next() -> None:
    dead = [SilentServer() for _ in range(3)]
    hosts = ",".join(f"127.0.0.1:{one.port}" for one in dead)
    with pytest.raises(RedisError, match="network:ConnectionError"):  # the last was asked, too
        connect(f"sentinel://{hosts},127.0.0.1:{free_port()}/uploads", call=2 * CALL).ping()
    for one in dead:
        one.close()


def test_a_refused_connection_is_tried_again_for_a_moment(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, free_port())
    later = Timer(0.3, server.start)
    later.start()
    try:
        assert connect(server.url, call=5.0).ping()
    finally:
        later.join()
        server.stop()
    assert took(connect(server.url, call=10.0).ping, RedisConnectionError) < 2.5, "not until the time is up"


def test_retries_within_retries_do_not_multiply() -> None:
    """redis-py tries a command again whose connection, health check and login each are tried again."""
    tries = 0

    def fail() -> None:
        nonlocal tries
        tries += 1
        raise RedisConnectionError

    inner, outer = DeadlineRetry(10.0), DeadlineRetry(10.0)
    with pytest.raises(RedisConnectionError):
        outer.call_with_retry(lambda: inner.call_with_retry(fail, lambda error: None), lambda error: None)
    assert tries == 5


def test_calls_share_the_time_of_a_block(server: EmbeddedServer) -> None:
    redis = connect(server.url, call=10.0)
    redis.ping()

    def five() -> None:
        with within(CALL):
            for _ in range(5):
                with suppress(RedisError):
                    redis.ping()
            redis.ping()

    with stopped(server):
        assert took(five) < CALL + SLACK


def test_a_blocking_command_blocks_for_its_time_on_top(server: EmbeddedServer) -> None:
    redis = connect(server.url, call=0.5)
    start = time.monotonic()
    assert not redis.xread({"nothing": "0"}, block=1200)
    assert redis.blpop("nothing", timeout=1) is None
    assert time.monotonic() - start > 2.0
    with stopped(server):
        assert took(lambda: redis.xread({"nothing": "0"}, block=500)) < 2.5


def test_a_subscriber_waits_as_long_as_it_asked(server: EmbeddedServer) -> None:
    redis = connect(server.url, call=0.5)
    with redis.pubsub() as channel:
        channel.subscribe("news")
        assert channel.get_message(timeout=1.0)["type"] == "subscribe"
        Timer(1.5, connect(server.url).publish, ("news", "x")).start()
        assert channel.get_message(timeout=5.0)["data"] == b"x"


class SlowServer(SilentServer):
    """Reads slowly, and answers when all has come."""

    RATE, SIZE = 4_000_000, 12_000_000

    def __init__(self) -> None:
        super().__init__(receive_buffer=1 << 16)

    def _swallow(self, connection: socket.socket) -> None:
        while b"SET\r\n" not in (data := connection.recv(1 << 16)):
            answers = {b"PING": b"+PONG\r\n", b"HELLO": b"%1\r\n+proto\r\n:3\r\n"}
            connection.sendall(next((answers[name] for name in answers if name in data), b"+OK\r\n"))
        left = self.SIZE - len(data)
        while left > 0 and (data := connection.recv(1 << 17)):
            left -= len(data)
            time.sleep(len(data) / self.RATE)
        connection.sendall(b"+OK\r\n")


def test_a_large_value_on_a_slow_line_is_no_hang() -> None:
    server = SlowServer()
    start = time.monotonic()
    connect(server.url, call=2.0).set("key", b"x" * SlowServer.SIZE)
    assert time.monotonic() - start > 2.0
    server.close()


@pytest.mark.parametrize(
    ("command", "seconds"),
    [
        (("GET", "a"), 0.0),
        (("XREAD", b"COUNT", b"5", b"BLOCK", b"1000", b"STREAMS", "a", "0"), 1.0),
        (("XREADGROUP", "GROUP", "g", "c", b"BLOCK", 250, "STREAMS", "a", ">"), 0.25),
        (("XREAD", "STREAMS", "a", "0"), 0.0),
        (("XREAD", b"BLOCK", b"0", b"STREAMS", "a", "0"), math.inf),
        (("BRPOP", "a", "b", 3), 3.0),
        (("BLPOP", "a", 0), math.inf),
    ],
)
def test_how_long_commands_block(command: tuple[Any, ...], seconds: float) -> None:
    assert block_seconds(command) == seconds
