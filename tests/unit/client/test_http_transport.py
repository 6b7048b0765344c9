"""Both clients against a server whose answers are written down beforehand."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from moderator import Client
from moderator.client import http_exchange
from moderator.errors import (
    ApiKeyRefused,
    EventInvalid,
    NotAGateway,
    OnlyOverRedis,
    QueueFull,
    QueueUnavailable,
    SettingsError,
    VerdictTimeout,
)
from moderator.queue.records import Acceptance
from moderator.settings import Settings
from moderator.verdicts import Decision, Verdict
from tests.support.client_doors import InLoop, InThread
from tests.support.http_server import Answer, HttpServer
from tests.support.service import until

EVENTS, STREAM = "/v1/events", "/v1/verdicts/stream"
VERDICT = Verdict(event_id="a", source="shop", decision=Decision.BLOCK, is_safe=False)
FOUND = Answer(200, VERDICT.model_dump_json().encode())
MISSING = Answer(404, b'{"type": "urn:moderator:problem:no-verdict"}')
ACCEPTED = Answer(202, b'{"id": "a", "source": "shop", "acceptance": "accepted"}')
AWAY = Answer(503, b'{"detail": "Redis is away"}')


@pytest.fixture(scope="module")
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


@pytest.fixture
def http(server: HttpServer) -> HttpServer:
    """One server for all tests, which has forgotten the earlier ones."""
    server.answers, server.requests = {}, []
    return server


@pytest.fixture(params=[InThread, InLoop], ids=["threads", "event loop"])
def connect(request: pytest.FixtureRequest, http: HttpServer) -> Iterator[Callable[..., Any]]:
    clients: list[Any] = []

    def make(url: str = http.url(""), settings: Settings | None = None, **options: Any) -> Any:
        clients.append(request.param(url, settings or Settings(), **options))
        return clients[-1]

    yield make
    for client in clients:
        client.__exit__(None, None, None)


def test_an_event_is_sent_with_the_key_and_waited_for(http: HttpServer, connect: Callable[..., Any]) -> None:
    http.answers = {EVENTS: [ACCEPTED], "/v1/verdicts/shop/a": [MISSING, MISSING, FOUND]}
    client = connect(api_key="mk_secret")
    sent = client.submit(url="https://example.com/a.jpg", id="a", source="shop", metadata={"user": 12})
    assert (sent.id, sent.acceptance) == ("a", Acceptance.ACCEPTED)
    assert client.wait(sent) == client.wait("a") == client.verdict("a", source="shop") == VERDICT
    assert http.requests[1].path == "/v1/verdicts/shop/a?wait=25.0", "the gateway waits, not the client"
    (request,) = http.asked(EVENTS)
    assert request.headers["authorization"] == "Bearer mk_secret"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body)["metadata"] == {"user": 12}


def test_a_check_is_one_request_where_the_verdict_comes_in_time(
    http: HttpServer, connect: Callable[..., Any]
) -> None:
    http.answers = {EVENTS + "?wait=5.0": [FOUND], EVENTS + "?wait=0.2": [ACCEPTED]}
    http.answers["/v1/verdicts/moderator/b"] = [MISSING]
    client = connect()
    assert client.check(url="https://example.com/a.jpg", timeout=5) == VERDICT
    assert len(http.requests) == 1
    with pytest.raises(VerdictTimeout, match=r"event b of source moderator after 0.2 s"):
        client.check(url="https://example.com/a.jpg", id="b", timeout=0.2)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(401, b"{}"), ApiKeyRefused),
        (Answer(422, b'{"detail": "image.path: is not absolute"}'), EventInvalid),
        (Answer(429, b"{}", {"retry-after": "3"}), QueueFull),
        (AWAY, QueueUnavailable),
        (Answer(302, b"", {"location": "http://127.0.0.1:1/"}), NotAGateway),
        (Answer(200, b"<html>"), NotAGateway),
    ],
)
def test_refusals_are_typed(
    http: HttpServer, connect: Callable[..., Any], answer: Answer, error: type[Exception]
) -> None:
    http.answers = {EVENTS: [answer]}
    with pytest.raises(error):
        connect().submit(url="https://example.com/a.jpg")
    assert len(http.requests) == 1


def test_what_is_refused_for_now_is_tried_again_with_the_same_id(
    http: HttpServer, connect: Callable[..., Any]
) -> None:
    http.answers = {EVENTS: [AWAY, Answer(429, b"{}", {"retry-after": "0"}), ACCEPTED]}
    assert connect(retry_seconds=5).submit(url="https://example.com/a.jpg").acceptance == "accepted"
    assert len({json.loads(request.body)["id"] for request in http.asked(EVENTS)}) == 1
    assert len(http.requests) == 3


def test_nobody_listens(connect: Callable[..., Any], unused_url: str) -> None:
    started = time.monotonic()
    with pytest.raises(QueueUnavailable, match="cannot be reached"):
        connect(unused_url).submit(url="https://example.com/a.jpg")
    assert time.monotonic() - started < 3


def test_a_server_that_hangs(
    http: HttpServer, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_exchange, "ANSWER_SECONDS", 0.2)
    http.answers = {EVENTS: [Answer(202, b"{}", delay=1.0)]}
    with pytest.raises(QueueUnavailable, match="in time"):
        connect().submit(url="https://example.com/a.jpg")


def test_an_answer_is_bounded(
    http: HttpServer, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_exchange, "ANSWER_BYTES_MAX", 1000)
    http.answers = {EVENTS: [Answer(202, b" " * 1001)]}
    with pytest.raises(NotAGateway, match="1000 bytes"):
        connect().submit(url="https://example.com/a.jpg")


def test_a_stream_that_breaks_is_read_on_after_the_last_cursor(
    http: HttpServer, connect: Callable[..., Any]
) -> None:
    one, two, three = (
        f"id: {n}-0\nevent: verdict\ndata: {VERDICT.model_dump_json()}\n\n".encode() for n in (1, 2, 3)
    )
    http.answers = {STREAM: [Answer(200, one + two + three[:20]), AWAY, Answer(200, three)]}
    client = connect(retry_seconds=5)
    assert client.iter_verdicts("0", 3) == [("1-0", VERDICT), ("2-0", VERDICT), ("3-0", VERDICT)]
    assert [request.headers["last-event-id"] for request in http.asked(STREAM)] == ["0", "2-0", "2-0"]


def test_a_stream_that_ends_again_and_again_is_read_on(http: HttpServer, connect: Callable[..., Any]) -> None:
    """Each time it makes progress, so that a client without retries reads on, too."""
    each = [f"id: {n}-0\nevent: verdict\ndata: {VERDICT.model_dump_json()}\n\n".encode() for n in range(1, 7)]
    http.answers = {STREAM: [Answer(200, one) for one in each]}
    assert [cursor for cursor, _ in connect().iter_verdicts("0", 6)] == [f"{n}-0" for n in range(1, 7)]


def test_a_stream_that_ends_at_once_each_time_is_an_error(
    http: HttpServer, connect: Callable[..., Any]
) -> None:
    http.answers = {STREAM: [Answer(200, b"retry: 2000\n\n")]}
    with pytest.raises(QueueUnavailable, match="ends the stream"):
        connect().iter_verdicts("0", 1)
    assert len(http.requests) == http_exchange.TRIES_MAX


def test_a_wait_goes_on_when_the_key_has_used_up_its_rate(
    http: HttpServer, connect: Callable[..., Any]
) -> None:
    late = Answer(429, b'{"retry_after": 0.1}', {"retry-after": "1"})
    http.answers = {"/v1/verdicts/moderator/a": [late, MISSING, late, FOUND]}
    assert connect().wait("a", timeout=5) == VERDICT
    with pytest.raises(NotAGateway):
        connect().wait("of-another-server", timeout=5)


@pytest.mark.parametrize(
    "cursor", ["", "x", "1-", "-1", "1-2-3", "18446744073709551616", "1-18446744073709551616"]
)
def test_what_is_no_cursor_is_never_sent(http: HttpServer, connect: Callable[..., Any], cursor: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        connect().iter_verdicts(cursor, 1)
    assert http.requests == []


def test_a_stream_that_is_not_there_is_an_error(http: HttpServer, connect: Callable[..., Any]) -> None:
    http.answers = {STREAM: [AWAY]}
    with pytest.raises(QueueUnavailable):
        connect().iter_verdicts("0", 1)
    http.answers = {STREAM: [Answer(403, b"{}")]}
    with pytest.raises(ApiKeyRefused):
        connect(retry_seconds=5).iter_verdicts("0", 1)


def test_events_are_spooled_while_the_gateway_is_away(
    http: HttpServer, connect: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.answers = {EVENTS: [AWAY, ACCEPTED]}
    client = connect(settings=Settings(spool=tmp_path / "spool"))
    sent = client.submit(url="https://example.com/a.jpg", id="a")
    assert sent.acceptance is Acceptance.SPOOLED
    until(lambda: len(http.asked(EVENTS)) == 2, 5, "the delivery in the background")
    assert [json.loads(request.body)["id"] for request in http.asked(EVENTS)] == ["a", "a"]


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://example.org", True),
        ("http://localhost:1", False),
        ("http://[::1]", False),
        ("https://example.org", False),
    ],
)
def test_a_key_should_not_travel_in_the_open(
    url: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    Client(url, Settings(), api_key="mk_secret")
    assert ("unencrypted" in caplog.text) is warned
    assert "mk_secret" not in caplog.text


@pytest.mark.parametrize("key", ["", "a b\n", "é", " x"])
def test_a_key_that_is_none(key: str) -> None:
    with pytest.raises(SettingsError):
        Client("http://127.0.0.1:1", Settings(), api_key=key)


def test_what_only_redis_offers(http: HttpServer) -> None:
    with Client(http.url(""), Settings()) as client:
        for use in (lambda: client.redis, lambda: client.dead_letters, lambda: client.consume("g", "me")):
            with pytest.raises(OnlyOverRedis):
                use()


@pytest.fixture
def unused_url() -> str:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
