import logging
from threading import Event, current_thread

import pytest

from workers.periodic import Periodic


def test_work_is_done_again_and_again_until_stopped() -> None:
    thrice, count = Event(), 0

    def work() -> None:
        nonlocal count
        count += 1
        assert current_thread().name == "sweeper"
        if count == 3:
            thrice.set()

    periodic = Periodic("sweeper", 0.005, work)
    assert thrice.wait(10)
    periodic.stop()
    done = count
    Event().wait(0.03)
    assert count == done


def test_an_error_is_logged_and_the_next_call_made(caplog: pytest.LogCaptureFixture) -> None:
    survived, count = Event(), 0

    def work() -> None:
        nonlocal count
        count += 1
        if count == 1:
            raise ConnectionError("redis is gone")
        survived.set()

    with caplog.at_level(logging.WARNING):
        periodic = Periodic("sweeper", 0.005, work)
        assert survived.wait(10)
        periodic.stop()
    assert "sweeper: ConnectionError: redis is gone" in caplog.text


def test_stopping_waits_for_the_call_in_hand() -> None:
    started, finished = Event(), Event()

    def work() -> None:
        started.set()
        Event().wait(0.05)
        finished.set()

    periodic = Periodic("sweeper", 0.001, work)
    assert started.wait(10)
    periodic.stop()
    assert finished.is_set()


def test_the_first_call_comes_after_the_interval() -> None:
    calls: list[int] = []
    periodic = Periodic("sweeper", 60, lambda: calls.append(1))
    periodic.stop()
    assert calls == []
