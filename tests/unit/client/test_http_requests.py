import json
from email.utils import formatdate
from typing import Any

import pytest

from moderator.client import http_requests
from moderator.client.event_stream import ServerSentEvent
from moderator.client.http_requests import GatewayAddress, HttpAnswer, read_item, refusal
from moderator.errors import (
    ApiKeyRefused,
    EventInvalid,
    ModeratorError,
    NotAGateway,
    QueueFull,
    QueueUnavailable,
    SettingsError,
    VerdictsMissed,
    VerdictUnreadable,
)
from moderator.queue.commands import read_body
from moderator.queue.records import Acceptance
from moderator.verdicts import Decision, Verdict

VERDICT = Verdict(event_id="a", source="shop", decision=Decision.ALLOW, is_safe=True)


def answer(status: int, body: Any = None, **headers: str) -> HttpAnswer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpAnswer(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://moderation.example", "https://moderation.example/v1/x"),
        ("HTTP://[::1]:8080/", "http://[::1]:8080/v1/x"),
        ("https://example.org/moderation/", "https://example.org/moderation/v1/x"),
    ],
)
def test_addresses(url: str, expected: str) -> None:
    assert GatewayAddress.of(url).url("/v1/x") == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https://u:secret@host",
        "https://host?x=1",
        "https://host#x",
        "https://h:99999",
        "http://h:0",
    ],
)
def test_what_is_no_address_of_a_gateway(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        GatewayAddress.of(url)
    assert "secret" not in str(caught.value)


def test_a_verdict_is_asked_for_by_source_and_id() -> None:
    call = http_requests.verdict("a b/c:up%2F0")
    assert call.target == "/v1/verdicts/a%20b%2Fc/up%2F0"
    assert call.read(answer(200, VERDICT.model_dump_json().encode())) == VERDICT
    assert call.read(answer(404, {"type": "urn:moderator:problem:no-verdict"})) is None
    with pytest.raises(NotAGateway):
        call.read(answer(404, {"type": "urn:moderator:problem:not-found"}))
    with pytest.raises(VerdictUnreadable):
        call.read(answer(200, {"decision": "quarantine"}))


def test_a_submission_is_answered_for_each_event() -> None:
    body, events = read_body({"id": "a", "source": "shop", "image": {"path": "/x"}})
    call = http_requests.submission(body, events)
    assert call.read(answer(202, {"id": "a", "source": "shop", "acceptance": "pending"})) == [
        (events[0], Acceptance.PENDING)
    ]


@pytest.mark.parametrize("found", [b"<html>", [], {}, {"acceptance": "eaten"}, b"[" * 100_000, b"\xff"])
def test_another_server_is_recognised(found: Any) -> None:
    call = http_requests.submission(*read_body({"id": "a", "image": {"path": "/x"}}))
    with pytest.raises(NotAGateway):
        call.read(answer(202, found))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ApiKeyRefused),
        (403, ApiKeyRefused),
        (413, EventInvalid),
        (422, EventInvalid),
        (429, QueueFull),
        (500, QueueUnavailable),
        (503, QueueUnavailable),
        (301, NotAGateway),
        (404, NotAGateway),
        (405, NotAGateway),
    ],
)
def test_problems_are_the_errors_that_they_were(status: int, error: type[ModeratorError]) -> None:
    problem = refusal(answer(status, {"title": "t", "detail": "image.path: \x1b[31mis not absolute"}))
    assert type(problem) is error
    assert "image.path: ?[31mis not absolute" in str(problem)
    assert type(refusal(answer(status, b"<html>" * 1000))) is error, "a proxy's page"
    assert len(str(refusal(answer(status, {"detail": "x" * 100_000})))) < 1000


def test_a_full_queue_says_when_to_try_again() -> None:
    problem = refusal(answer(429, {}, retry_after="7"))
    assert isinstance(problem, QueueFull)
    assert problem.retry_after == 7
    later = refusal(answer(429, {}, retry_after=formatdate(4e9)))
    assert isinstance(later, QueueFull)
    assert later.retry_after > 1e9
    exact = refusal(answer(429, {"retry_after": 0.25}, retry_after="1"))
    assert isinstance(exact, QueueFull)
    assert exact.retry_after == 0.25
    for header in ({}, {"retry_after": "soon"}):
        unknown = refusal(answer(429, {}, **header))
        assert isinstance(unknown, QueueFull)
        assert unknown.retry_after == 10


def test_a_stream_continues_after_a_cursor() -> None:
    assert http_requests.stream("5-1").headers["last-event-id"] == "5-1"
    assert http_requests.stream("0").headers["last-event-id"] == "0"
    assert "last-event-id" not in http_requests.stream("$").headers
    assert read_item(ServerSentEvent("verdict", "5-2", VERDICT.model_dump_json()), None) == ("5-2", VERDICT)
    assert read_item(ServerSentEvent("message", "5-2", "x"), None) is None
    assert read_item(ServerSentEvent("verdict", None, VERDICT.model_dump_json()), None) is None


def test_a_stream_reports_a_gap() -> None:
    gap = ServerSentEvent(
        "gap", "5-0", json.dumps({"start": "1-0", "end": "5-0", "count": None, "detail": "?"})
    )
    with pytest.raises(VerdictsMissed) as raised:
        read_item(gap, None)
    assert (raised.value.start, raised.value.end, raised.value.count) == ("1-0", "5-0", None)
    found: list[VerdictsMissed] = []
    assert read_item(gap, found.append) is None
    assert [one.end for one in found] == ["5-0"]
    for data in ("{}", "x", '{"start": "a", "end": "b", "count": 1}'):
        with pytest.raises(NotAGateway):
            read_item(ServerSentEvent("gap", "5-0", data), None)


def test_a_stream_reports_its_end() -> None:
    with pytest.raises(QueueUnavailable, match="Redis is away"):
        read_item(ServerSentEvent("unavailable", None, '{"detail": "Redis is away"}'), None)


def test_what_cannot_be_read_in_a_stream_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    assert read_item(ServerSentEvent("verdict", "5-3", "{}"), None) is None
    assert "5-3" in caplog.text
