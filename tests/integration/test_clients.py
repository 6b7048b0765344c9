"""Clients from threads and an event loop, over Redis and over the gateway: one service, one contract."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from moderator.client import Client
from moderator.errors import EventInvalid, VerdictTimeout
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.records import Acceptance
from moderator.settings import Settings
from moderator.verdicts import Decision
from tests.support.client_doors import InLoop, InThread
from tests.support.service import SETTINGS, WorkerProcess


@pytest.fixture(params=[InThread, InLoop], ids=["threads", "event loop"])
def door(
    request: pytest.FixtureRequest, shared_server: EmbeddedServer, worker: WorkerProcess
) -> Iterator[Any]:
    with request.param(shared_server.url, Settings(**SETTINGS)) as client:
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
