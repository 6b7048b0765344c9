import pytest

from workers.watchdog import FULL_WAIT_MAX_SECONDS, LATE_LOOK_SECONDS, STALL_MAX_SECONDS, Watchdog


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
    assert not consumer.stuck_within(10 * STALL_MAX_SECONDS, turns=True)


def test_one_that_stands_still_is_stuck_after_a_while(consumer: Consumer) -> None:
    assert not consumer.stuck_within(STALL_MAX_SECONDS)
    assert consumer.stuck_within(1)


def test_without_redis_there_is_nothing_to_do(consumer: Consumer) -> None:
    consumer.away = True
    assert not consumer.stuck_within(10 * STALL_MAX_SECONDS)
    consumer.away = False
    assert not consumer.stuck_within(STALL_MAX_SECONDS), "it has its time to connect again"
    assert consumer.stuck_within(1)


def test_a_machine_that_slept_is_no_reason(consumer: Consumer) -> None:
    consumer.clock.now += STALL_MAX_SECONDS + LATE_LOOK_SECONDS
    assert not consumer.watchdog.stuck()
    assert consumer.stuck_within(STALL_MAX_SECONDS + 1)


def test_full_places_without_progress_are_noticed(consumer: Consumer) -> None:
    watchdog, clock = consumer.watchdog, consumer.clock

    def full_for(seconds: float, *, finish: bool = False) -> str | None:
        problem = None
        for _ in range(round(seconds)):
            clock.now += 1
            watchdog.turn(full=True)
            if finish:
                watchdog.finish()
            problem = problem or watchdog.stuck()
        return problem

    assert full_for(2 * FULL_WAIT_MAX_SECONDS, finish=True) is None, (
        "what takes long is no reason while something is done"
    )
    assert full_for(FULL_WAIT_MAX_SECONDS / 3) is None
    assert not watchdog.jammed()
    assert full_for(1) is None
    assert watchdog.jammed()
    assert "places are full" in (full_for(FULL_WAIT_MAX_SECONDS) or "")
    watchdog.turn(full=False)
    assert not watchdog.jammed()
    assert full_for(FULL_WAIT_MAX_SECONDS) is None, "with a place free it has its time again"


def test_what_images_may_take_is_waited_for() -> None:
    clock = Clock()
    watchdog = Watchdog(lambda: None, clock, image=600.0)
    for _ in range(1800):
        clock.now += 1
        watchdog.turn(full=True)
        assert watchdog.stuck() is None
