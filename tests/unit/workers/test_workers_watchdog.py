import pytest

from workers.watchdog import LATE, PATIENCE, Watchdog


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Consumer:
    """A watchdog that is asked every second."""

    def __init__(self) -> None:
        self.clock, self.away = Clock(), False
        self.watchdog = Watchdog(self.reach, self.clock)

    def reach(self) -> None:
        if self.away:
            raise ConnectionError("away")

    def stuck_within(self, seconds: float, *, turns: bool = False) -> bool:
        stuck = False
        for _ in range(round(seconds)):
            self.clock.now += 1
            if turns:
                self.watchdog.turn()
            stuck = stuck or self.watchdog.stuck()
        return stuck


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


def test_one_that_turns_is_not_stuck(consumer: Consumer) -> None:
    assert not consumer.stuck_within(10 * PATIENCE, turns=True)


def test_one_that_stands_still_is_stuck_after_a_while(consumer: Consumer) -> None:
    assert not consumer.stuck_within(PATIENCE)
    assert consumer.stuck_within(1)


def test_without_redis_there_is_nothing_to_do(consumer: Consumer) -> None:
    consumer.away = True
    assert not consumer.stuck_within(10 * PATIENCE)
    consumer.away = False
    assert not consumer.stuck_within(PATIENCE), "it has its time to connect again"
    assert consumer.stuck_within(1)


def test_a_machine_that_slept_is_no_reason(consumer: Consumer) -> None:
    consumer.clock.now += PATIENCE + LATE
    assert not consumer.watchdog.stuck()
    assert consumer.stuck_within(PATIENCE + 1)
