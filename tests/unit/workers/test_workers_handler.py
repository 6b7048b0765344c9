from collections.abc import Callable, Iterator
from threading import Barrier, Event, get_ident
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from moderator.errors import EventInvalid, WorkerStopping
from moderator.events import Event as ModerationEvent
from moderator.metrics import Metrics
from workers.handler import Handler

IMAGE = {"path": "/a"}


class Buried:
    """Stands in for the dead letters."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def bury_message(self, body: Any, error: EventInvalid) -> str:
        self.messages.append((body, str(error)))
        return "not-an-event:1"


@pytest.fixture
def dead_letters() -> Buried:
    return Buried()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


Start = Callable[[Callable[[ModerationEvent], None]], Handler]


@pytest.fixture
def start(dead_letters: Buried, metrics: Metrics) -> Iterator[Start]:
    handlers: list[Handler] = []

    def make(process: Callable[[ModerationEvent], None]) -> Handler:
        handlers.append(Handler(process, dead_letters, metrics, width=3))
        return handlers[-1]

    yield make
    for handler in handlers:
        handler.close()


def bulk(count: int) -> dict[str, Any]:
    return {"id": "b", "images": [IMAGE] * count}


def test_one_event_is_processed_where_it_is_handled(start: Start, dead_letters: Buried) -> None:
    seen: list[tuple[str, int]] = []
    start(lambda event: seen.append((event.id, get_ident()))).handle({"id": "e", "image": IMAGE})
    assert seen == [("e", get_ident())]
    assert dead_letters.messages == []


def test_images_of_a_bulk_event_are_processed_side_by_side(start: Start) -> None:
    together, seen = Barrier(3, timeout=10), set()

    def process(event: ModerationEvent) -> None:
        together.wait()
        seen.add(event.id)

    start(process).handle(bulk(6))
    assert seen == {f"b/{n}" for n in range(6)}


@pytest.mark.parametrize("body", [None, [], "event", {}, {"image": {}}, {"id": "b", "images": []}, b"\xff"])
def test_what_is_no_event_becomes_a_dead_letter(
    start: Start, dead_letters: Buried, metrics: Metrics, body: Any
) -> None:
    start(lambda event: pytest.fail("processed")).handle(body)
    assert [kept for kept, _ in dead_letters.messages] == [body]
    labels = {"stage": "intake", "error": "EventInvalid"}
    assert metrics.registry.get_sample_value("moderation_failures_total", labels) == 1


def test_what_is_no_celery_message_becomes_a_dead_letter(
    start: Start, dead_letters: Buried, metrics: Metrics
) -> None:
    start(lambda event: pytest.fail("processed")).refuse("garbage")
    ((kept, message),) = dead_letters.messages
    assert kept == "garbage"
    assert "moderation.check" in message
    labels = {"stage": "intake", "error": "EventInvalid"}
    assert metrics.registry.get_sample_value("moderation_failures_total", labels) == 1


def test_an_error_is_raised_when_all_images_are_done(start: Start) -> None:
    seen = []

    def process(event: ModerationEvent) -> None:
        if event.id == "b/1":
            raise ConnectionError("redis is gone")
        Event().wait(0.02)
        seen.append(event.id)

    with pytest.raises(ConnectionError):
        start(process).handle(bulk(5))
    assert sorted(seen) == ["b/0", "b/2", "b/3", "b/4"]


def test_a_stop_leaves_the_rest_of_a_bulk_event(start: Start) -> None:
    seen: list[str] = []

    def process(event: ModerationEvent) -> None:
        handler.stop()
        Event().wait(0.05)
        seen.append(event.id)

    handler = start(process)
    with pytest.raises(WorkerStopping):
        handler.handle(bulk(20))
    assert 1 <= len(seen) <= 3, "those in hand were finished"


def test_after_a_stop_a_single_event_that_was_delivered_is_still_processed(start: Start) -> None:
    seen = []
    handler = start(lambda event: seen.append(event.id))
    handler.stop()
    handler.handle({"id": "e", "image": IMAGE})
    assert seen == ["e"]
