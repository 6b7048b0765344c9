from collections.abc import Callable, Iterator, Sequence
from threading import Barrier, Event, get_ident
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from moderator.errors import EventInvalid, WorkerStopping
from moderator.events import Event as ModerationEvent
from workers.handler import IMAGES_PER_GROUP, Handler
from workers.worker_metrics import Metrics

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


Process = Callable[[Sequence[ModerationEvent]], None]
Start = Callable[[Process], Handler]


@pytest.fixture
def start(dead_letters: Buried, metrics: Metrics) -> Iterator[Start]:
    handlers: list[Handler] = []

    def make(process: Process) -> Handler:
        handlers.append(Handler(process, dead_letters, metrics, width=3 * IMAGES_PER_GROUP))
        return handlers[-1]

    yield make
    for handler in handlers:
        handler.close()


def bulk(*images: dict[str, str]) -> dict[str, Any]:
    return {"id": "b", "images": list(images)}


def ids(*numbers: int) -> list[str]:
    return [f"b/{n}" for n in numbers]


def of(events: Sequence[ModerationEvent]) -> list[str]:
    return [event.id for event in events]


def test_one_event_is_processed_where_it_is_handled(start: Start, dead_letters: Buried) -> None:
    seen: list[tuple[list[str], int]] = []
    start(lambda events: seen.append((of(events), get_ident()))).handle({"id": "e", "image": IMAGE})
    assert seen == [(["e"], get_ident())]
    assert dead_letters.messages == []


def test_images_of_a_bulk_event_are_processed_in_groups_side_by_side(start: Start) -> None:
    together, seen = Barrier(3, timeout=10), []

    def process(events: Sequence[ModerationEvent]) -> None:
        together.wait()
        seen.append(of(events))

    start(process).handle(bulk(*[IMAGE] * (3 * IMAGES_PER_GROUP - 1)))
    assert sorted(seen, key=lambda group: int(group[0][2:])) == [
        ids(*range(IMAGES_PER_GROUP)),
        ids(*range(IMAGES_PER_GROUP, 2 * IMAGES_PER_GROUP)),
        ids(*range(2 * IMAGES_PER_GROUP, 3 * IMAGES_PER_GROUP - 1)),
    ]


def test_images_from_elsewhere_do_not_wait_for_each_other(start: Start) -> None:
    together, seen = Barrier(3 * IMAGES_PER_GROUP, timeout=10), []

    def process(events: Sequence[ModerationEvent]) -> None:
        if len(events) == 1:
            together.wait()
        seen.append(of(events))

    remote = {"url": "https://example.org/a.jpg"}
    start(process).handle(bulk(IMAGE, *[remote] * 3 * IMAGES_PER_GROUP, IMAGE))
    assert sorted(seen, key=len)[-1] == ids(0, 3 * IMAGES_PER_GROUP + 1), "what is here goes together"
    assert len(seen) == 3 * IMAGES_PER_GROUP + 1


@pytest.mark.parametrize("body", [None, [], "event", {}, {"image": {}}, {"id": "b", "images": []}, b"\xff"])
def test_what_is_no_event_becomes_a_dead_letter(
    start: Start, dead_letters: Buried, metrics: Metrics, body: Any
) -> None:
    start(lambda events: pytest.fail("processed")).handle(body)
    assert [kept for kept, _ in dead_letters.messages] == [body]
    labels = {"stage": "intake", "error": "EventInvalid"}
    assert metrics.registry.get_sample_value("moderation_failures_total", labels) == 1


def test_what_is_no_celery_message_becomes_a_dead_letter(
    start: Start, dead_letters: Buried, metrics: Metrics
) -> None:
    start(lambda events: pytest.fail("processed")).refuse("garbage", "no message")
    ((kept, message),) = dead_letters.messages
    assert (kept, message) == ("garbage", "no message")
    labels = {"stage": "intake", "error": "EventInvalid"}
    assert metrics.registry.get_sample_value("moderation_failures_total", labels) == 1


def test_each_piece_of_work_that_is_done_counts_as_progress(dead_letters: Buried, metrics: Metrics) -> None:
    finished = 0

    def finish() -> None:
        nonlocal finished
        finished += 1

    def process(events: Sequence[ModerationEvent]) -> None:
        if events[0].id == "x":
            raise ConnectionError("away")

    handler = Handler(process, dead_letters, metrics, width=IMAGES_PER_GROUP, finished=finish)
    handler.handle(bulk(*[IMAGE] * (3 * IMAGES_PER_GROUP)))
    assert finished == 3
    with pytest.raises(ConnectionError):
        handler.handle({"id": "x", "image": IMAGE})
    handler.handle(5)
    assert finished == 5
    handler.close()


def test_an_error_is_raised_when_all_images_are_done(start: Start) -> None:
    seen = []

    def process(events: Sequence[ModerationEvent]) -> None:
        if "b/0" in of(events):
            raise ConnectionError("redis is gone")
        Event().wait(0.02)
        seen.extend(of(events))

    with pytest.raises(ConnectionError):
        start(process).handle(bulk(*[IMAGE] * 5 * IMAGES_PER_GROUP))
    assert len(seen) == 4 * IMAGES_PER_GROUP


def test_a_stop_leaves_the_rest_of_a_bulk_event(start: Start) -> None:
    seen: list[list[str]] = []

    def process(events: Sequence[ModerationEvent]) -> None:
        handler.stop()
        Event().wait(0.05)
        seen.append(of(events))

    handler = start(process)
    with pytest.raises(WorkerStopping):
        handler.handle(bulk(*[IMAGE] * 20 * IMAGES_PER_GROUP))
    assert 1 <= len(seen) <= 3, "those in hand were finished"


def test_after_a_stop_a_single_event_that_was_delivered_is_still_processed(start: Start) -> None:
    seen = []
    handler = start(lambda events: seen.extend(of(events)))
    handler.stop()
    handler.handle({"id": "e", "image": IMAGE})
    assert seen == ["e"]
