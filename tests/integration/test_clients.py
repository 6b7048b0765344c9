"""Clients from threads and an event loop, over Redis and over the gateway: one service, one contract."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from moderator.client import AsyncClient, Client
from moderator.errors import (
    ApiKeyRefused,
    EventInvalid,
    NotAGateway,
    QueueFull,
    QueueUnavailable,
    VerdictsMissed,
    VerdictTimeout,
)
from moderator.gateway.api_keys import Scope
from moderator.queue import keys
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.records import Acceptance
from moderator.settings import Settings
from moderator.verdicts import Decision, Verdict
from tests.support.client_doors import InLoop, InThread
from tests.support.gateway_door import GatewayDoor, gateway_door, make_key
from tests.support.service import SETTINGS, WorkerProcess, make_client


@pytest.fixture(scope="module")
def gateway(
    shared_server: EmbeddedServer, worker: WorkerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayDoor]:
    with gateway_door(shared_server.url, tmp_path_factory.mktemp("gateway")) as door:
        yield door


@pytest.fixture(params=["Redis", "HTTP"])
def address(
    request: pytest.FixtureRequest, shared_server: EmbeddedServer, worker: WorkerProcess
) -> dict[str, str]:
    if request.param == "Redis":
        return {"url": shared_server.url}
    door: GatewayDoor = request.getfixturevalue("gateway")
    return {"url": door.url, "api_key": door.key}


@pytest.fixture(params=[InThread, InLoop], ids=["threads", "event loop"])
def door(request: pytest.FixtureRequest, address: dict[str, str]) -> Iterator[Any]:
    with request.param(settings=Settings(**SETTINGS), **address) as client:
        yield client


def test_a_check_gives_the_verdict(door: Any, images: Path) -> None:
    name = uuid4().hex
    verdict = door.check(
        inline=(images / "cat.jpg").read_bytes(), id=name, source="shop", metadata={"user": 12}
    )
    assert (verdict.event_id, verdict.source, verdict.metadata) == (name, "shop", {"user": 12})
    assert verdict.decision is Decision.BLOCK
    assert door.wait(name) == door.verdict(name) == verdict, "the source is remembered"
    assert door.submit(path="/x", id=name, source="shop").acceptance is Acceptance.ANSWERED


def test_many_are_submitted_and_waited_for(door: Any, small_images: list[Path]) -> None:
    events = door.submit_many(
        [{"path": str(file)} for file in small_images[:3]], id=f"up:{uuid4().hex}", source="a/b"
    )
    assert [event.acceptance for event in events] == [Acceptance.ACCEPTED] * 3
    verdicts = [door.wait(event) for event in events]
    assert [verdict.event_id for verdict in verdicts] == [event.id for event in events]
    assert all(verdict.bulk == events[0].event.bulk for verdict in verdicts)


def test_an_invalid_event_is_refused(door: Any) -> None:
    for event in (
        {"path": "cat.jpg"},
        {"url": "ftp://example.org/x"},
        {"path": "/x", "policy": "No Policy"},
        {},
    ):
        with pytest.raises(EventInvalid):
            door.submit(**event)
        with pytest.raises(EventInvalid):
            door.check(**event)
    with pytest.raises(EventInvalid, match="use submit_many"):
        door.submit_event({"id": "b", "images": [{"path": "/a"}]})


def test_what_is_not_there_is_waited_for_in_vain(door: Any) -> None:
    assert door.verdict("nowhere") is None
    with pytest.raises(VerdictTimeout, match=r"event nowhere of source moderator after 0\.2 s"):
        door.wait("nowhere", timeout=0.2)


def test_the_stream_is_read_on_from_a_cursor(door: Any, client: Client, small_images: list[Path]) -> None:
    start = client.verdicts.position()
    events = [door.submit(path=small_images[n], id=uuid4().hex) for n in range(4)]
    assert [door.wait(event).event_id for event in events] == [event.id for event in events]
    first = door.iter_verdicts(start, 2)
    rest = door.iter_verdicts(first[-1][0], 2)
    assert {verdict.event_id for _, verdict in first + rest} == {event.id for event in events}


def test_many_tasks_wait_over_one_client(
    address: dict[str, str], client: Client, small_images: list[Path]
) -> None:
    """Over Redis, on a handful of connections."""
    waiting = 100

    async def check_all() -> list[Verdict]:
        async with AsyncClient(settings=Settings(**SETTINGS), **address) as many:
            checks = [many.check(path=small_images[n % 10], source="many") for n in range(waiting)]
            return await asyncio.gather(*checks)

    before = client.redis.info("stats")["total_connections_received"]
    verdicts = asyncio.run(check_all())
    made = client.redis.info("stats")["total_connections_received"] - before
    assert len({verdict.event_id for verdict in verdicts}) == waiting
    assert {verdict.decision for verdict in verdicts} <= {Decision.ALLOW, Decision.REVIEW, Decision.BLOCK}
    assert made < waiting / 2, f"{made} connections"


@pytest.mark.parametrize("kind", [InThread, InLoop], ids=["threads", "event loop"])
def test_keys_that_may_not(kind: Any, gateway: GatewayDoor, shared_server: EmbeddedServer) -> None:
    reader = make_key(shared_server.url, Scope.READ)
    for key, error in ((None, ApiKeyRefused), ("mk_unknown", ApiKeyRefused), (reader, ApiKeyRefused)):
        with kind(gateway.url, Settings(), api_key=key) as client, pytest.raises(error):
            client.submit(path="/x")
    with kind(gateway.url, Settings(), api_key=reader) as client:
        assert client.verdict("nowhere") is None
    with kind(f"{gateway.url}/elsewhere", Settings(), api_key=reader) as client, pytest.raises(NotAGateway):
        client.verdict("nowhere")


@pytest.mark.parametrize("kind", [InThread, InLoop], ids=["threads", "event loop"])
def test_a_full_queue_and_missed_verdicts_are_reported_over_http(
    kind: Any, server: EmbeddedServer, tmp_path: Path
) -> None:
    client = make_client(server.url)
    for n in range(10):
        verdict = Verdict(event_id=str(n), source="s", decision=Decision.ALLOW, is_safe=True)
        client.redis.xadd(keys.VERDICTS, {"verdict": verdict.model_dump_json()}, id=f"{n + 1}-0")
    client.redis.xtrim(keys.VERDICTS, maxlen=3, approximate=False)
    with (
        gateway_door(server.url, tmp_path, queue_limit="1") as door,
        kind(door.url, Settings(), api_key=door.key) as http,
    ):
        http.submit(path="/x", id="a")
        with pytest.raises(QueueFull) as full:
            http.submit(path="/x", id="b")
        assert 0 < full.value.retry_after <= 10
        with pytest.raises(VerdictsMissed) as gap:
            http.iter_verdicts("2-0", 1)
        assert gap.value.start == "2-1"
        assert [verdict.event_id for _, verdict in http.iter_verdicts(gap.value.end, 3)] == ["7", "8", "9"]
        server.stop()
        with pytest.raises(QueueUnavailable):
            http.submit(path="/x", id="c")
        server.start()
