"""What a worker has is said to be there, for as long as the worker gets on."""

from collections.abc import Sequence

import pytest

from moderator.events import Event, ImageReference
from workers.leases import EVENT_HELD_MAX_SECONDS, STALLED_SECONDS, Leases


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Beats(list[list[tuple[str, str]]]):
    broken = False

    def __call__(self, held: Sequence[tuple[str, str]]) -> None:
        if self.broken:
            raise ConnectionError("redis is gone")
        self.append(list(held))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def beats() -> Beats:
    return Beats()


@pytest.fixture
def leases(clock: Clock, beats: Beats) -> Leases:
    return Leases(beats, 1.0, clock)


def events(*names: str) -> list[Event]:
    return [Event(id=name, source="s", image=ImageReference(path="/x")) for name in names]


def test_what_waits_its_turn_is_held_from_the_start_and_what_is_claimed_with_its_token(
    leases: Leases, beats: Beats
) -> None:
    first, second, third = message = events("a", "b", "c")
    with leases.hold(message):
        leases.claimed(first, "s:a", "token")
        leases.done([third])
        leases.beat()
    leases.beat()
    assert beats == [[("s:a", ""), ("s:b", ""), ("s:c", "")], [("s:a", "token"), ("s:b", "")]]
    assert second.id == "b"


def test_a_single_event_costs_no_step_of_its_own(leases: Leases, beats: Beats) -> None:
    with leases.hold(events("a")):
        assert beats == []


def test_the_same_event_twice_is_held_as_long_as_one_of_them_is_here(leases: Leases, beats: Beats) -> None:
    one, two = events("a", "a")
    with leases.hold([one]):
        leases.claimed(one, "s:a", "token")
        with leases.hold([two]):
            pass
        leases.beat()
    assert beats == [[("s:a", "token")]]


def test_a_worker_that_gets_nothing_done_leaves_it_to_others(
    leases: Leases, beats: Beats, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now = 1e6  # nothing was here for long: that is no standstill
    message = events("a", "b")
    with leases.hold(message):
        clock.now += STALLED_SECONDS
        leases.beat()
        assert len(beats) == 2
        clock.now += 1
        leases.beat()
        assert len(beats) == 2
        assert "left to other workers" in caplog.text
        leases.done(message[:1])
        leases.beat()
        assert beats[2:] == [[("s:b", "")]]


def test_one_event_alone_is_not_held_for_ever(leases: Leases, beats: Beats, clock: Clock) -> None:
    stuck, *others = events("stuck", *map(str, range(100)))
    leases.claimed(stuck, "s:stuck", "t")
    for other in others:
        clock.now += EVENT_HELD_MAX_SECONDS / 100
        leases.claimed(other, other.key, "t")
        leases.done([other])
        leases.beat()
    assert beats[0] == [("s:stuck", "t")]
    assert len(beats) == 99


def test_an_error_of_redis_ends_nothing(leases: Leases, beats: Beats) -> None:
    with leases.hold(events("a", "b")):
        beats.broken = True
        leases.beat()
        beats.broken = False
        leases.beat()
    assert len(beats) == 2
