"""The thread that runs a slow model on all that waits."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from moderator.errors import SignalBusy, SignalFailed, SignalTimeout
from moderator.signals.batched import WAITING_BATCHES_MAX, BatchRunner


class Doubler:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.began = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.began.set()
        self.go_on.wait(30)
        self.batches.append(list(items))
        if 13 in items:
            raise ZeroDivisionError("thirteen")
        return [2 * item for item in items]


@pytest.fixture
def model() -> Iterator[Doubler]:
    model = Doubler()
    yield model
    model.go_on.set()


def test_results_are_in_order_and_batches_bounded(model: Doubler) -> None:
    runner = BatchRunner(model, "m", 3)
    assert runner.map(range(7), 10) == [0, 2, 4, 6, 8, 10, 12]
    assert [len(batch) for batch in model.batches] == [3, 3, 1]
    assert runner.map([], 10) == []


def test_items_of_other_keys_are_in_other_batches(model: Doubler) -> None:
    assert BatchRunner(model, "m", 8, key=lambda n: n % 2).map([1, 2, 3, 4], 10) == [2, 4, 6, 8]
    assert model.batches == [[1, 3], [2, 4]]


def test_one_item_that_fails_fails_alone(model: Doubler) -> None:
    runner = BatchRunner(model, "m", 4)
    model.go_on.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(runner.map, [1], 10)
        model.began.wait(10)
        bad, good = pool.submit(runner.map, [13], 10), pool.submit(runner.map, [2, 3], 10)
        time.sleep(0.1)
        model.go_on.set()
        assert (first.result(), good.result()) == ([2], [4, 6])
        with pytest.raises(SignalFailed, match="ZeroDivisionError: thirteen"):
            bad.result()
    assert [1] in model.batches
    assert [13, 2, 3] in model.batches or [2, 3, 13] in model.batches


def test_a_caller_that_gives_up_leaves_nothing_behind(model: Doubler) -> None:
    runner = BatchRunner(model, "m", 1)
    model.go_on.clear()
    with pytest.raises(SignalTimeout, match=r"m took more than 0\.1 s"):
        runner.map([1, 2, 3], 0.1)
    model.go_on.set()
    assert runner.map([4], 10) == [8]
    assert model.batches == [[1], [4]]


def test_too_many_are_refused(model: Doubler) -> None:
    runner = BatchRunner(model, "m", 1)
    model.go_on.clear()
    with ThreadPoolExecutor(WAITING_BATCHES_MAX + 1) as pool:
        waiting = []
        for n in range(WAITING_BATCHES_MAX + 1):
            waiting.append(pool.submit(runner.map, [n], 20))
            model.began.wait(10)
            time.sleep(0.05)
        with pytest.raises(SignalBusy, match="too many"):
            runner.map([9], 20)
        model.go_on.set()
        assert [future.result() for future in waiting] == [[2 * n] for n in range(WAITING_BATCHES_MAX + 1)]


def test_results_of_another_number_are_an_error() -> None:
    with pytest.raises(SignalFailed, match="gave 0 results"):
        BatchRunner(lambda items: [], "m", 1).map([1], 10)


def test_no_thread_stays(model: Doubler) -> None:
    BatchRunner(model, "brief", 2).map(range(4), 10)
    deadline = time.monotonic() + 5
    while any(thread.name == "model-brief" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
