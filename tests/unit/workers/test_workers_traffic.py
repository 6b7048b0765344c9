from collections.abc import Callable
from threading import Event, Thread

import pytest

from moderator.events import Priority
from workers.traffic import EXPECTED, Places, Traffic

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_event_makes_another_expected_for_a_while() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    assert not traffic.interactive()
    traffic.note(BULK)
    assert (traffic.interactive(), traffic.bulk()) == (False, True)
    traffic.note(INTERACTIVE)
    clock.now = EXPECTED - 0.1
    assert traffic.interactive()
    clock.now = EXPECTED
    assert (traffic.interactive(), traffic.bulk()) == (False, False)


class Visitor:
    """Takes a place in a thread of its own and holds it until let go."""

    def __init__(self, places: Places, priority: Priority) -> None:
        self.inside, self._go = Event(), Event()
        self._thread = Thread(target=self._run, args=(places, priority), daemon=True)
        self._thread.start()

    def _run(self, places: Places, priority: Priority) -> None:
        with places.take(priority):
            self.inside.set()
            assert self._go.wait(10)

    def leave(self) -> None:
        self._go.set()
        self._thread.join(10)


@pytest.fixture
def limit() -> list[int]:
    return [2]


@pytest.fixture
def places(limit: list[int]) -> Places:
    return Places(2, lambda: limit[0])


def waiting(places: Places, priority: Priority, count: int) -> Callable[[], None]:
    def check() -> None:
        for _ in range(1000):
            if places._waiting[priority] == count:
                return
            Event().wait(0.005)
        raise AssertionError(places._waiting)

    return check


def test_places_are_bounded(places: Places) -> None:
    first, second = Visitor(places, BULK), Visitor(places, INTERACTIVE)
    assert first.inside.wait(10)
    assert second.inside.wait(10)
    third = Visitor(places, INTERACTIVE)
    waiting(places, INTERACTIVE, 1)()
    assert not third.inside.is_set()
    first.leave()
    assert third.inside.wait(10)
    for visitor in (second, third):
        visitor.leave()


def test_interactive_takes_the_next_place_whoever_waited_longer(places: Places) -> None:
    inside = [Visitor(places, BULK) for _ in range(2)]
    for visitor in inside:
        assert visitor.inside.wait(10)
    bulk = Visitor(places, BULK)
    waiting(places, BULK, 1)()
    interactive = Visitor(places, INTERACTIVE)
    waiting(places, INTERACTIVE, 1)()
    inside[0].leave()
    assert interactive.inside.wait(10)
    assert not bulk.inside.is_set()
    inside[1].leave()
    assert bulk.inside.wait(10)
    for visitor in (interactive, bulk):
        visitor.leave()


def test_bulk_leaves_places_free_and_takes_them_when_it_may(places: Places, limit: list[int]) -> None:
    limit[0] = 1
    first, second = Visitor(places, BULK), Visitor(places, BULK)
    waiting(places, BULK, 1)()
    interactive = Visitor(places, INTERACTIVE)
    assert interactive.inside.wait(10), "a place was left for it"
    interactive.leave()
    limit[0] = 2
    assert first.inside.wait(10)
    assert second.inside.wait(10), "it looks by itself"
    for visitor in (first, second):
        visitor.leave()


def test_an_error_gives_the_place_back(places: Places) -> None:
    for _ in range(5):
        with pytest.raises(ValueError, match="x"), places.take(BULK):
            raise ValueError("x")
    assert set(places._held.values()) == {0}


def test_several_places_are_held_and_given_back_together(places: Places) -> None:
    with places.take(BULK, 2):
        first, second = Visitor(places, BULK), Visitor(places, BULK)
        waiting(places, BULK, 2)()
    assert first.inside.wait(0.5), "nobody has to look by himself"
    assert second.inside.wait(0.5)
    for visitor in (first, second):
        visitor.leave()
