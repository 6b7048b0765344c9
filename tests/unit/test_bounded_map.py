import threading
import time
from contextlib import closing

import pytest

from moderator.bounded_map import bounded_map


def test_in_order() -> None:
    found = [n for n in bounded_map(4, lambda n: n * n, range(50), 8) if n is not None]
    assert found == [n * n for n in range(50)]


def test_who_waits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderator.bounded_map.READER_WAIT_MAX_SECONDS", 0.01)
    release = threading.Event()

    def work(n: int) -> int:
        if n == 2:
            release.wait(30)
        return n

    found = []
    for n in bounded_map(2, work, range(4), 8):
        found.append(n)
        if n is None:
            release.set()
    assert found == [0, 1, None, 2, 3]


def test_who_stops_early_waits_for_nothing() -> None:
    release = threading.Event()
    begun = []

    def work(n: int) -> int:
        begun.append(n)
        if n:
            release.wait(30)
        return n

    start = time.monotonic()
    with closing(bounded_map(1, work, range(100), 50)) as found:
        assert next(found) == 0
    assert time.monotonic() - start < 10
    release.set()
    time.sleep(0.1)
    assert len(begun) <= 2, "what has not begun is dropped"


def test_errors_come_through() -> None:
    with pytest.raises(ZeroDivisionError):
        list(bounded_map(2, lambda n: 1 // n, [1, 0], 8))
