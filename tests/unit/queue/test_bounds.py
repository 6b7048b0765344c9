import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.events import Priority
from moderator.queue.bounds import (
    RETRY_AFTER_MAX_SECONDS,
    RETRY_AFTER_MIN_SECONDS,
    RETRY_AFTER_UNKNOWN_SECONDS,
    QueueBounds,
    retry_after,
)


def test_bulk_leaves_room_for_interactive() -> None:
    bounds = QueueBounds(100, 1000)
    assert bounds.of(Priority.INTERACTIVE) == bounds
    assert bounds.of(Priority.BULK) == QueueBounds(80, 800)


@pytest.mark.parametrize("priority", Priority)
def test_no_bound_stays_none_and_a_small_one_stays_a_bound(priority: Priority) -> None:
    assert QueueBounds().of(priority) == QueueBounds()
    assert QueueBounds(1, 1).of(priority) == QueueBounds(1, 1)


def test_the_wait_is_what_has_to_drain_over_how_quickly_it_drains() -> None:
    assert retry_after(30, 10.0, QueueBounds(1000)) == 4.0
    assert retry_after(30, 0.0, QueueBounds(1000)) == RETRY_AFTER_UNKNOWN_SECONDS


@given(excess=st.integers(1, 10**9), rate=st.floats(0, 1e9), events=st.integers(0, 10**9))
def test_the_wait_is_bounded(excess: int, rate: float, events: int) -> None:
    assert (
        RETRY_AFTER_MIN_SECONDS <= retry_after(excess, rate, QueueBounds(events)) <= RETRY_AFTER_MAX_SECONDS
    )
