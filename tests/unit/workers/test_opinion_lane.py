"""Places for second opinions, and who does not wait for them."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from moderator.errors import SignalBusy
from moderator.events import Priority
from workers.opinion_lane import OpinionLane
from workers.places import Places


class Stage:
    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked: list[str] = []

    def ask(self, data: bytes, judged: str) -> str:
        self.asked.append(judged)
        self.go_on.wait(30)
        return f"{judged} answered"

    def leave(self, judged: str, reason: Exception) -> str:
        assert isinstance(reason, SignalBusy)
        return f"{judged} left"


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.go_on.set()


def attempt(judged: str | None, priority: Priority = Priority.INTERACTIVE) -> Any:
    return SimpleNamespace(
        judged=judged,
        data=b"file",
        event=SimpleNamespace(priority=priority),
        watch=SimpleNamespace(lap=lambda stage: 0.0),
    )


def test_beyond_the_places_images_are_left_at_once(stage: Stage) -> None:
    published: list[str] = []
    done = threading.Semaphore(0)

    def publish(_: Any, judged: Any) -> None:
        published.append(judged)
        done.release()

    lane = OpinionLane(stage, publish, 2)  # type: ignore[arg-type]
    thread = threading.Thread(target=lane.ask, args=([attempt(name) for name in ("a", None, "b", "c")],))
    thread.start()
    assert done.acquire(timeout=10)
    assert published == ["c left"]
    stage.go_on.set()
    thread.join()
    assert sorted(published) == ["a answered", "b answered", "c left"]
    lane.ask([attempt("d")])
    assert published[-1] == "d answered"
    lane.close()


def test_what_publishing_raises_is_raised_and_the_place_given_back(stage: Stage) -> None:
    stage.go_on.set()

    def publish(*_: Any) -> None:
        raise ConnectionError("away")

    lane = OpinionLane(stage, publish, 1)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(ConnectionError):
            lane.ask([attempt("a")])
    assert stage.asked == ["a"] * 3
    lane.close()


def test_bulk_takes_half_of_the_places() -> None:
    places = Places(4)
    assert [places.enter(Priority.BULK) for _ in range(3)] == [True, True, False]
    assert [places.enter(Priority.INTERACTIVE) for _ in range(3)] == [True, True, False]
    places.leave()
    assert not places.enter(Priority.BULK)
    assert places.enter(Priority.INTERACTIVE)
    assert Places(1).enter(Priority.BULK)
