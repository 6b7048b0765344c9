import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from workers.shared_reading import SharedReading


def test_each_asks_anew_where_nobody_else_does() -> None:
    values = iter([1, 2])
    reading = SharedReading("test", lambda: next(values), 5.0)
    assert [reading.get(), reading.get()] == [1, 2]


def test_those_that_ask_at_once_share_one_reading() -> None:
    started, go, count = Event(), Event(), []

    def read() -> int:
        count.append(1)
        started.set()
        go.wait(10)
        return len(count)

    reading = SharedReading("test", read, 10.0)
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(reading.get) for _ in range(20)]
        assert started.wait(10)
        time.sleep(0.2)
        go.set()
        assert {one.result() for one in asked} == {1}


def test_nobody_waits_for_what_hangs_and_nobody_queues_up() -> None:
    go = Event()
    reading = SharedReading("test", lambda: go.wait(30), 0.3)

    def ask() -> float:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            reading.get()
        return time.monotonic() - start

    with ThreadPoolExecutor(20) as pool:
        waits = [one.result() for one in [pool.submit(ask) for _ in range(20)]]
    assert max([*waits, ask()]) < 1.5
    go.set()
    time.sleep(0.1)
    assert reading.get() is True


def test_what_goes_wrong_is_told_and_passes() -> None:
    answers = iter([RuntimeError("away"), 3])

    def read() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reading = SharedReading("test", read, 5.0)
    with pytest.raises(RuntimeError, match="away"):
        reading.get()
    assert reading.get() == 3
