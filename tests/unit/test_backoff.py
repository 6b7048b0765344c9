"""Waiting before the next try."""

from hypothesis import given
from hypothesis import strategies as st

from moderator.backoff import exponential, jittered


@given(st.integers(1, 10_000), st.floats(0.001, 100), st.floats(0.001, 10_000))
def test_a_wait_is_never_longer_than_its_bound_and_never_nothing(
    attempt: int, first: float, most: float
) -> None:
    wait = exponential(attempt, first, most)

    assert 0 < wait <= most
    assert wait >= 0.75 * min(first, most)


def test_waits_double() -> None:
    assert 6 <= exponential(4, 1.0, 300.0) <= 8


def test_two_that_failed_together_do_not_come_back_together() -> None:
    assert len({jittered(10.0) for _ in range(50)}) > 40
