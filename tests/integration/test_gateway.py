"""`moderator gateway` before a real server and a real worker."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import redis

from moderator.client import Client
from moderator.events import event_key
from moderator.gateway.api_keys import Scope
from moderator.queue import keys
from moderator.queue.embedded_server import EmbeddedServer
from tests.support.gateway_process import GatewayCaller, GatewayProcess, make_key
from tests.support.service import DEMO, WorkerProcess, run_cli, stopped, until

CAT = (DEMO / "cat.jpg").read_bytes()


@pytest.fixture(scope="module")
def gateway(
    worker: WorkerProcess, shared_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    process = GatewayProcess(
        tmp_path_factory.mktemp("gateway"), redis_url=shared_server.url, max_bytes="2000000"
    ).start()
    yield process
    assert process.stop() == 0, process.log
    assert "Traceback" not in process.log


@pytest.fixture(scope="module")
def caller(gateway: GatewayProcess, shared_server: EmbeddedServer) -> GatewayCaller:
    return GatewayCaller(gateway.port, make_key(shared_server.url))


@pytest.fixture
def alone(server: EmbeddedServer, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway on a server of its own, without a worker."""
    process = GatewayProcess(
        tmp_path / "gateway",
        redis_url=server.url,
        queue_limit="3",
        max_bytes="1000",
        gateway_anonymous="true",
        gateway_rate="0",
        gateway_body_timeout="1",
        gateway_streams="1",
    ).start()
    yield process
    if process.poll() is None:
        process.kill()


def form(*parts: tuple[str, bytes]) -> tuple[bytes, str]:
    """A multipart form, whose first part is a file."""
    body = b""
    for n, (name, value) in enumerate(parts):
        file = "" if n else '; filename="a.jpg"'
        body += (
            f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n"
        )
    return body + b"--b--\r\n", "multipart/form-data; boundary=b"


def events(answer: http.client.HTTPResponse, count: int) -> list[dict[str, str]]:
    """So many server-sent events."""
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        line = answer.readline().decode().rstrip("\n")
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            found.append(fields)
            fields = {}
        elif not line:
            fields = {}
    return found


def test_an_image_is_judged_and_found_again(caller: GatewayCaller) -> None:
    body, kind = form(("image", CAT), ("policy", b"marketplace"), ("id", b"form/1:a"), ("source", b"s/x"))
    status, verdict, headers = caller.call("POST", "/v1/images?wait=30", body, kind, X_Request_ID="mine-1")
    assert (status, verdict["decision"], verdict["event_id"]) == (200, "block", "form/1:a")
    assert headers["x-request-id"] == "mine-1"
    again, found, _ = caller.call("GET", "/v1/verdicts/s%2Fx/form%2F1%3Aa")
    assert (again, found) == (200, verdict)
    assert caller.call("GET", "/v1/verdicts/s%2Fx/form/1:a")[1] == verdict

    status, known, headers = caller.call("POST", "/v1/images?id=form%2F1:a&source=s/x", CAT, "image/jpeg")
    assert (status, known["acceptance"]) == (202, "answered")
    assert (
        caller.call("GET", headers["location"])[1]
        == verdict
        == caller.call("GET", known["links"]["verdict"])[1]
    )
    listed = caller.call("GET", "/v1/verdicts?source=s/x&decision=block&policy=marketplace")[1]
    assert listed == {"items": [verdict], "next": None}
    assert caller.call("GET", "/v1/verdicts?source=s/x&decision=allow")[1]["items"] == []


def test_events_of_each_form_are_accepted_once(caller: GatewayCaller, small_images: list[Path]) -> None:
    image = {"path": str(small_images[0])}
    event = {"id": "e1", "source": "forms", "image": image}
    cloud = {"specversion": "1.0", "type": "t", "source": "forms", "data": {"image": image}}
    assert caller.post("/v1/events?wait=30", event)[0] == 200
    kind = "application/cloudevents+json"
    status, answer, _ = caller.call("POST", "/v1/events", json.dumps({**cloud, "id": "e1"}), kind)
    assert (status, answer["acceptance"]) == (202, "answered")
    batch = json.dumps([{**cloud, "id": "e2"}, {**cloud, "id": "e1"}])
    answers = caller.call("POST", "/v1/events", batch, "application/cloudevents-batch+json")[1]["events"]
    assert [one["acceptance"] for one in answers] == ["accepted", "answered"]
    bulk = {"id": "many", "source": "forms", "images": [image, image]}
    assert [one["id"] for one in caller.post("/v1/events", bulk)[1]["events"]] == ["many/0", "many/1"]
    assert caller.call("GET", "/v1/verdicts/forms/many%2F1?wait=30")[0] == 200
    status, problem, _ = caller.call("GET", "/v1/verdicts/forms/unknown?wait=0.1")
    assert (status, problem["type"]) == (404, "urn:moderator:problem:no-verdict")


def test_the_stream_is_resumed_and_reports_what_was_trimmed(
    caller: GatewayCaller, gateway: GatewayProcess, shared_server: EmbeddedServer, small_images: list[Path]
) -> None:
    key = make_key(shared_server.url, Scope.READ)

    def open_stream(last: str | None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        resumed = {} if last is None else {"Last-Event-ID": last}
        connection.request("GET", "/v1/verdicts/stream", headers={"X-API-Key": key, **resumed})
        return connection.getresponse()

    def submit(*ids: str) -> None:
        for id in ids:
            event = {"id": id, "source": "streamed", "image": {"path": str(small_images[0])}}
            assert caller.post("/v1/events?wait=30", event)[0] == 200

    with open_stream(None) as first:
        assert first.readline() == b"retry: 2000\n"
        time.sleep(0.2)
        submit("s1", "s2")
        one, two = events(first, 2)
    assert [json.loads(found["data"])["event_id"] for found in (one, two)] == ["s1", "s2"]
    submit("s3")
    with open_stream(one["id"]) as resumed:
        assert [json.loads(found["data"])["event_id"] for found in events(resumed, 2)] == ["s2", "s3"]
    with redis.Redis.from_url(shared_server.url) as client:
        newest = client.xrevrange(keys.VERDICTS, count=1)[0][0].decode()
        client.xtrim(keys.VERDICTS, minid=newest, approximate=False)
    with open_stream(one["id"]) as late:
        gap, last = events(late, 2)
    assert (gap["event"], last["event"], last["id"]) == ("gap", "verdict", newest)
    assert json.loads(gap["data"])["start"] > one["id"]


def test_keys_open_only_what_they_are_for(
    gateway: GatewayProcess, caller: GatewayCaller, shared_server: EmbeddedServer, tmp_path: Path
) -> None:
    def ask(key: str | None, path: str = "/v1/verdicts") -> int:
        return GatewayCaller(gateway.port, key).call("GET", path)[0]

    made = run_cli(
        "keys", "make", "shop", "--json", "--scope", "read", cwd=tmp_path, redis_url=shared_server.url
    )
    facts = json.loads(made.stdout)
    key = facts["key"]
    assert ask(key) == 200
    status, problem, headers = GatewayCaller(gateway.port, key).post("/v1/events", {})
    assert (status, problem["type"]) == (403, "urn:moderator:problem:scope-missing")
    assert headers["content-type"] == "application/problem+json"
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert [ask(one) for one in (None, "", "nonsense", wrong)] == [401] * 4
    with redis.Redis.from_url(shared_server.url) as client:
        record = client.hgetall(keys.API_KEY_PREFIX + facts["id"])
    assert key.encode() not in b" ".join([*record, *record.values()])
    limited = make_key(shared_server.url, Scope.READ, rate=0.5)
    assert [ask(limited), ask(limited)] == [200, 429]
    assert ask("x", "/healthz") == ask(None, "/readyz") == 200
    run_cli("keys", "revoke", facts["id"], cwd=tmp_path, redis_url=shared_server.url)
    assert ask(key) == 401
    listed = run_cli("keys", "list", "--json", cwd=tmp_path, redis_url=shared_server.url)
    [shown] = [one for one in map(json.loads, listed.stdout.splitlines()) if one["id"] == facts["id"]]
    assert shown["scopes"] == ["read"]
    assert None not in (shown["revoked_at"], shown["used_at"])


def test_what_is_wrong_is_a_problem_with_its_remedy(caller: GatewayCaller) -> None:
    def problem(status: int, name: str, answer: tuple[int, Any, Any]) -> None:
        assert (answer[0], answer[1]["type"]) == (status, f"urn:moderator:problem:{name}")
        assert answer[1]["detail"]
        assert answer[1]["request_id"] == answer[2]["x-request-id"]

    image = {"image": {"url": "https://example.org/a.jpg"}}
    problem(400, "json-invalid", caller.call("POST", "/v1/events", "{"))
    problem(422, "event-invalid", caller.post("/v1/events", {"image": {"url": "ftp://a"}}))
    problem(422, "event-invalid", caller.post("/v1/events", [1]))
    problem(422, "parameters-invalid", caller.post("/v1/events?wait=-1", image))
    problem(422, "wait-for-many", caller.post("/v1/events?wait=1", {"id": "a", "images": []}))
    problem(415, "media-type", caller.call("POST", "/v1/events", CAT, "image/jpeg"))
    problem(415, "media-type", caller.call("POST", "/v1/images", "{}", "application/json"))
    problem(413, "image-too-large", caller.call("POST", "/v1/images", b"x" * 2_000_001, "image/png"))
    problem(413, "body-too-large", caller.call("POST", "/v1/images", b"x" * 4_000_000, "image/png"))
    problem(422, "image-missing", caller.call("POST", "/v1/images", b"", "image/png"))
    problem(422, "image-missing", caller.call("POST", "/v1/images", *form(("image", b""))))
    problem(422, "field-unknown", caller.call("POST", "/v1/images?polcy=a", CAT, "image/png"))
    problem(400, "form-invalid", caller.call("POST", "/v1/images", b"--b", "multipart/form-data"))
    problem(404, "not-found", caller.call("GET", "/v1"))
    problem(404, "no-verdict", caller.call("GET", "/v1/verdicts/a/b"))
    problem(405, "method-not-allowed", caller.call("PUT", "/v1/events"))
    problem(422, "cursor-invalid", caller.call("GET", "/v1/verdicts?cursor=x"))


def test_bounds_of_a_gateway(alone: GatewayProcess) -> None:
    caller = GatewayCaller(alone.port, None)
    image = {"image": {"url": "https://example.org/a.jpg"}}
    assert [caller.post("/v1/events", image)[0] for _ in range(4)] == [202, 202, 202, 429]
    status, problem, headers = caller.post("/v1/events", image)
    assert (status, problem["type"], int(headers["retry-after"]) > 0) == (
        429,
        "urn:moderator:problem:queue-full",
        True,
    )
    assert "requests need no API key" in alone.log

    with socket.create_connection(("127.0.0.1", alone.port)) as declared:  # refused by its length, unread
        declared.sendall(b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000000\r\n\r\n")
        assert declared.recv(20).startswith(b"HTTP/1.1 413")
    with socket.create_connection(("127.0.0.1", alone.port)) as endless:
        endless.sendall(b"POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(17):
            endless.sendall(chunk)
        assert endless.recv(20).startswith(b"HTTP/1.1 413")
    with socket.create_connection(("127.0.0.1", alone.port)) as slow:
        slow.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        assert slow.recv(20).startswith(b"HTTP/1.1 408")
    until(lambda: alone.metrics()["moderation_http_body_bytes"] == 0)


def test_without_redis_it_refuses_in_time_and_recovers(alone: GatewayProcess, server: EmbeddedServer) -> None:
    caller = GatewayCaller(alone.port, None)
    image = {"image": {"url": "https://example.org/a.jpg"}}
    answers: list[tuple[str, int, float]] = []

    def ask(path: str, event: object = None) -> None:
        start = time.monotonic()
        status = caller.post(path, event)[0] if event else caller.call("GET", path)[0]
        answers.append((path, status, time.monotonic() - start))

    def ask_all() -> None:
        threads = [Thread(target=ask, args=(path,)) for path in ("/healthz", "/readyz", "/metrics")]
        threads += [Thread(target=ask, args=("/v1/events", image)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with stopped(server):
        ask_all()
        ask_all()
    server.stop()
    ask_all()
    expected = {"/healthz": 200, "/readyz": 503, "/metrics": 200, "/v1/events": 503}
    assert {(path, status) for path, status, _ in answers} == set(expected.items())
    slowest = {name: max(s for path, _, s in answers if path == name) for name in expected}
    assert slowest.pop("/v1/events") < 3, slowest
    assert max(slowest.values()) < 2, slowest
    server.start()
    until(lambda: caller.call("GET", "/readyz")[0] == 200)
    assert caller.post("/v1/events", {**image, "id": "after"})[0] == 202


def test_a_stopping_gateway_answers_those_who_wait(alone: GatewayProcess, server: EmbeddedServer) -> None:
    caller = GatewayCaller(alone.port, None)
    answers: list[int] = []
    event = {"id": "w", "source": "w", "image": {"url": "https://example.org/a.jpg"}}
    waiting = Thread(target=lambda: answers.append(caller.post("/v1/events?wait=30", event)[0]))
    waiting.start()
    client = Client(server.url)
    until(lambda: client.redis.exists(keys.RECORD_PREFIX + event_key("w", "w")))
    assert alone.stop() == 0
    waiting.join(5)
    assert answers == [202]
