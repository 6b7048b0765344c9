from collections.abc import Callable
from threading import Event, Thread

import pytest

from moderator.events import Priority
from workers.priority import EXPECTED_SECONDS, PriorityGate, PrioritySemaphore

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_event_makes_another_expected_for_a_while() -> None:
    clock = Clock()
    gate = PriorityGate(clock)
    assert not gate.interactive()
    gate.note(BULK)
    assert (gate.interactive(), gate.bulk()) == (False, True)
    gate.note(INTERACTIVE)
    clock.now = EXPECTED_SECONDS - 0.1
    assert gate.interactive()
    clock.now = EXPECTED_SECONDS
    assert (gate.interactive(), gate.bulk()) == (False, False)
    assert gate.bulk_limit(1, 4) == 4
    gate.note(INTERACTIVE)
    assert gate.bulk_limit(1, 4) == 1


class Visitor:
    """Takes a place in a thread of its own and holds it until let go."""

    def __init__(self, semaphore: PrioritySemaphore, priority: Priority) -> None:
        self.inside, self._go = Event(), Event()
        self._thread = Thread(target=self._run, args=(semaphore, priority), daemon=True)
        self._thread.start()

    def _run(self, semaphore: PrioritySemaphore, priority: Priority) -> None:
        with semaphore.acquire(priority):
            self.inside.set()
            assert self._go.wait(10)

    def leave(self) -> None:
        self._go.set()
        self._thread.join(10)


@pytest.fixture
def limit() -> list[int]:
    return [2]


@pytest.fixture
def semaphore(limit: list[int]) -> PrioritySemaphore:
    return PrioritySemaphore(2, lambda: limit[0])


def waiting(semaphore: PrioritySemaphore, priority: Priority, count: int) -> Callable[[], None]:
    def check() -> None:
        for _ in range(1000):
            if semaphore._waiting[priority] == count:
                return
            Event().wait(0.005)
        raise AssertionError(semaphore._waiting)

    return check


def test_places_are_bounded(semaphore: PrioritySemaphore) -> None:
    first, second = Visitor(semaphore, BULK), Visitor(semaphore, INTERACTIVE)
    assert first.inside.wait(10)
    assert second.inside.wait(10)
    third = Visitor(semaphore, INTERACTIVE)
    waiting(semaphore, INTERACTIVE, 1)()
    assert not third.inside.is_set()
    first.leave()
    assert third.inside.wait(10)
    for visitor in (second, third):
        visitor.leave()


def test_interactive_takes_the_next_place_whoever_waited_longer(semaphore: PrioritySemaphore) -> None:
    inside = [Visitor(semaphore, BULK) for _ in range(2)]
    for visitor in inside:
        assert visitor.inside.wait(10)
    bulk = Visitor(semaphore, BULK)
    waiting(semaphore, BULK, 1)()
    interactive = Visitor(semaphore, INTERACTIVE)
    waiting(semaphore, INTERACTIVE, 1)()
    inside[0].leave()
    assert interactive.inside.wait(10)
    assert not bulk.inside.is_set()
    inside[1].leave()
    assert bulk.inside.wait(10)
    for visitor in (interactive, bulk):
        visitor.leave()


def test_bulk_leaves_places_free_and_takes_them_when_it_may(
    semaphore: PrioritySemaphore, limit: list[int]
) -> None:
    limit[0] = 1
    first, second = Visitor(semaphore, BULK), Visitor(semaphore, BULK)
    waiting(semaphore, BULK, 1)()
    interactive = Visitor(semaphore, INTERACTIVE)
    assert interactive.inside.wait(10), "a place was left for it"
    interactive.leave()
    limit[0] = 2
    assert first.inside.wait(10)
    assert second.inside.wait(10), "it looks by itself"
    for visitor in (first, second):
        visitor.leave()


def test_an_error_gives_the_place_back(semaphore: PrioritySemaphore) -> None:
    for _ in range(5):
        with pytest.raises(ValueError, match="x"), semaphore.acquire(BULK):
            raise ValueError("x")
    assert set(semaphore._held.values()) == {0}


def test_several_places_are_held_and_given_back_together(semaphore: PrioritySemaphore) -> None:
    with semaphore.acquire(BULK, 2):
        first, second = Visitor(semaphore, BULK), Visitor(semaphore, BULK)
        waiting(semaphore, BULK, 2)()
    assert first.inside.wait(0.5), "nobody has to look by himself"
    assert second.inside.wait(0.5)
    for visitor in (first, second):
        visitor.leave()
