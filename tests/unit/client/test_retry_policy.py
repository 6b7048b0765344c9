import pytest

from moderator.client import retry_policy
from moderator.client.retry_policy import RETRY_PAUSE_MAX_SECONDS, RetryBudget
from moderator.errors import EventInvalid, ModeratorError, QueueFull, QueueUnavailable, VerdictTimeout

AWAY = QueueUnavailable("away")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(retry_policy.time, "monotonic", lambda: clock[0])
    return clock


def test_pauses_grow_and_vary_within_bounds(now: list[float]) -> None:
    budget = RetryBudget(60)
    pauses = [budget.pause_after(AWAY) for _ in range(12)]
    for pause, whole in zip(
        pauses, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, *[RETRY_PAUSE_MAX_SECONDS] * 6), strict=True
    ):
        assert 0.75 * whole <= pause <= whole
    assert len({round(pause, 6) for pause in pauses[-6:]}) > 1


def test_what_the_queue_asks_for_is_waited_for(now: list[float]) -> None:
    assert RetryBudget(60).pause_after(QueueFull("full", 7.5)) == 7.5


@pytest.mark.parametrize("error", [EventInvalid("no"), VerdictTimeout("late")])
def test_what_a_retry_does_not_help_is_raised(now: list[float], error: ModeratorError) -> None:
    with pytest.raises(type(error)):
        RetryBudget(60).pause_after(error)


def test_no_retry_comes_too_late(now: list[float]) -> None:
    budget = RetryBudget(10)
    now[0] += 9.99
    with pytest.raises(QueueUnavailable):
        budget.pause_after(AWAY)
    with pytest.raises(QueueFull):
        RetryBudget(10).pause_after(QueueFull("full", 11))
    with pytest.raises(QueueUnavailable):
        RetryBudget(0).pause_after(AWAY)
    budget.renew()
    assert budget.pause_after(AWAY) <= 0.1, "from the start again"
