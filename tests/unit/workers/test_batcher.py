from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from threading import Event, Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.encoders.encoder import Embeddings, Pixels
from moderator.errors import WorkerStopping
from moderator.events import Priority
from workers.batcher import BatchedEmbeddings, MicroBatcher, _Item, fitting, small_batch

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK
BAD = 66


class Model:
    """Embeds an image as its number, fails on BAD, and waits at a gate."""

    def __init__(self) -> None:
        self.gate = Event()
        self.entered = Event()
        self.batches: list[list[int]] = []

    def __call__(self, pixels: Pixels) -> Embeddings:
        numbers = pixels[:, 0, 0, 0].tolist()
        self.batches.append(numbers)
        self.entered.set()
        assert self.gate.wait(10)
        if BAD in numbers:
            raise ValueError("bad image")
        return np.array(numbers, np.float32)[:, None]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def counted() -> list[int]:
    return []


@pytest.fixture
def batcher(model: Model, counted: list[int]) -> Iterator[MicroBatcher]:
    batcher = MicroBatcher(model, 4, lambda size, seconds: counted.append(size), lanes=1)
    yield batcher
    model.gate.set()
    batcher.stop()


def image(*frames: int) -> Pixels:
    return np.stack([np.full((2, 2, 3), number, np.uint8) for number in frames])


def hold(batcher: MicroBatcher, model: Model, number: int = 0) -> "Future[BatchedEmbeddings]":
    """Give the model something to do until its gate opens."""
    future = batcher.submit(image(number), INTERACTIVE)
    assert model.entered.wait(10)
    return future


def numbers(future: "Future[BatchedEmbeddings]") -> list[int]:
    return future.result(10).embeddings[:, 0].tolist()


def test_an_idle_model_takes_a_single_image_at_once(batcher: MicroBatcher, model: Model) -> None:
    model.gate.set()
    for number in range(3):
        assert numbers(batcher.submit(image(number), INTERACTIVE)) == [number]
    assert model.batches == [[0], [1], [2]]


def test_what_waits_forms_batches_in_order(batcher: MicroBatcher, model: Model, counted: list[int]) -> None:
    futures = [hold(batcher, model), *(batcher.submit(image(n), INTERACTIVE) for n in range(1, 8))]
    model.gate.set()
    assert [numbers(f) for f in futures] == [[n] for n in range(8)]
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
    batcher.stop()
    assert counted == [1, 4, 3]


def test_interactive_goes_first_and_bulk_takes_the_room_that_is_left(
    batcher: MicroBatcher, model: Model
) -> None:
    futures = [hold(batcher, model)]
    futures += [batcher.submit(image(n), BULK) for n in (1, 2, 3)]
    futures += [batcher.submit(image(n), INTERACTIVE) for n in (4, 5, 6)]
    model.gate.set()
    assert [numbers(f) for f in futures] == [[n] for n in range(7)]
    assert model.batches == [[0], [4, 5, 6, 1], [2, 3]]


def test_frames_of_an_image_stay_together(batcher: MicroBatcher, model: Model) -> None:
    futures = [hold(batcher, model)]
    futures += [batcher.submit(image(*frames), INTERACTIVE) for frames in ((1, 2, 3), (4, 5), (6,))]
    model.gate.set()
    assert [numbers(f) for f in futures] == [[0], [1, 2, 3], [4, 5], [6]]
    assert model.batches == [[0], [1, 2, 3], [4, 5, 6]]


def test_an_image_of_more_frames_than_a_batch_goes_alone(batcher: MicroBatcher, model: Model) -> None:
    futures = [hold(batcher, model)]
    futures += [batcher.submit(image(*frames), INTERACTIVE) for frames in ((1,), range(2, 8), (8,))]
    model.gate.set()
    assert numbers(futures[2]) == [2, 3, 4, 5, 6, 7]
    assert numbers(futures[3]) == [8]
    assert model.batches == [[0], [1], [2, 3, 4, 5, 6, 7], [8]]


def test_a_bad_image_fails_alone(batcher: MicroBatcher, model: Model, counted: list[int]) -> None:
    futures = [hold(batcher, model), *(batcher.submit(image(n), INTERACTIVE) for n in (1, BAD, 3))]
    model.gate.set()
    assert [numbers(futures[n]) for n in (0, 1, 3)] == [[0], [1], [3]]
    with pytest.raises(ValueError, match="bad image"):
        futures[2].result(10)
    assert model.batches == [[0], [1, BAD, 3], [1], [BAD], [3]]
    assert batcher.alive
    assert numbers(batcher.submit(image(9), BULK)) == [9]
    assert counted[:3] == [1, 1, 1], "what failed is no batch"


def test_times_are_told(batcher: MicroBatcher, model: Model) -> None:
    first, second = hold(batcher, model), batcher.submit(image(1), INTERACTIVE)
    Event().wait(0.05)
    model.gate.set()
    assert first.result(10).embed >= 0.05
    assert second.result(10).waited >= 0.05


def test_stopping_finishes_what_is_in_hand_and_fails_what_waits(batcher: MicroBatcher, model: Model) -> None:
    first = hold(batcher, model)
    waiting = [batcher.submit(image(n), priority) for n, priority in ((1, INTERACTIVE), (2, BULK))]
    stopper = Thread(target=batcher.stop)
    stopper.start()
    while not waiting[-1].done():  # refused as soon as the stop has begun
        waiting.append(batcher.submit(image(3), BULK))
    model.gate.set()
    stopper.join(10)
    assert numbers(first) == [0]
    for future in waiting:
        with pytest.raises(WorkerStopping):
            future.result(10)
    assert not batcher.alive
    assert model.batches == [[0]]


def test_stopping_twice(batcher: MicroBatcher) -> None:
    batcher.stop()
    batcher.stop()
    assert not batcher.alive


def test_a_second_batch_waits_at_the_door_of_the_model(model: Model) -> None:
    batcher = MicroBatcher(model, 4, lanes=2)
    first = hold(batcher, model)
    model.entered.clear()
    second = [batcher.submit(image(number), INTERACTIVE) for number in (1, 2)]
    assert model.entered.wait(10)  # while the first is still inside
    model.gate.set()
    assert numbers(first) == [0]
    assert [numbers(future) for future in second] == [[1], [2]]
    batcher.stop()


def choose(
    interactive: list[int], bulk: list[int], *, comes: bool, running: tuple[int, int] = (0, 0)
) -> tuple[int, int]:
    """How many of each are chosen, of images with so many frames; batches of 8."""
    waiting = {
        priority: deque(_Item(image(*range(frames)), priority) for frames in counts)
        for priority, counts in ((INTERACTIVE, interactive), (BULK, bulk))
    }
    chosen = fitting(waiting, 8, comes, dict(zip(Priority, running, strict=True)))
    return chosen[INTERACTIVE], chosen[BULK]


def test_without_interactive_traffic_bulk_has_the_model_to_itself() -> None:
    assert choose([], [1] * 20, comes=False) == (0, 8)
    assert choose([], [1] * 20, comes=False, running=(0, 1)) == (0, 8)
    assert choose([1, 1], [1] * 20, comes=False) == (2, 6)


def test_while_interactive_images_come_bulk_runs_in_small_batches_one_at_a_time() -> None:
    assert choose([], [1] * 20, comes=True) == (0, 2)
    assert choose([], [1] * 20, comes=True, running=(0, 1)) == (0, 0)
    assert choose([], [1] * 20, comes=True, running=(1, 0)) == (0, 0), "it would slow down the other"


def test_interactive_images_wait_for_a_small_batch_and_not_beside_it() -> None:
    assert choose([1], [1] * 20, comes=True, running=(0, 1)) == (0, 0)
    assert choose([1], [1] * 20, comes=True) == (1, 1)
    assert choose([1, 1, 1], [1] * 20, comes=True) == (3, 0)


def test_interactive_images_alone_are_batched_as_ever() -> None:
    assert choose([1] * 20, [1], comes=True) == (8, 0)
    assert choose([1] * 20, [], comes=True, running=(1, 0)) == (8, 0)


def test_a_bulk_image_of_many_frames_still_gets_its_turn() -> None:
    assert choose([], [5, 1], comes=True) == (0, 1)
    assert choose([1], [5], comes=True) == (1, 0)
    assert choose([], [12], comes=False) == (0, 1)


@given(
    interactive=st.lists(st.integers(1, 10), max_size=12),
    bulk=st.lists(st.integers(1, 10), max_size=12),
    comes=st.booleans(),
    running=st.tuples(st.integers(0, 1), st.integers(0, 1)),
)
def test_a_choice_fits_and_starves_nobody(
    interactive: list[int], bulk: list[int], comes: bool, running: tuple[int, int]
) -> None:
    first, second = choose(interactive, bulk, comes=comes, running=running)
    frames = sum(interactive[:first]) + sum(bulk[:second])
    assert frames <= 8 or first + second == 1
    if comes and second and not first:
        assert frames <= small_batch(8) or second == 1
    if not any(running) and (interactive or bulk):
        assert first + second, "an idle model takes something"
    if interactive and not running[1]:
        assert first, "interactive goes first"


def test_bulk_is_finished_while_interactive_images_come(model: Model) -> None:
    """Small batches, one after the other, from whichever thread is free."""
    batcher = MicroBatcher(model, 8, lanes=2, interactive=lambda: True)
    model.gate.set()
    futures = [batcher.submit(image(n), BULK) for n in range(9)]
    futures.append(batcher.submit(image(9), INTERACTIVE))
    assert [numbers(future) for future in futures] == [[n] for n in range(10)]
    assert max(map(len, model.batches)) <= 2
    batcher.stop()


def test_an_interactive_image_goes_before_the_bulk_that_waited_longer(model: Model) -> None:
    batcher = MicroBatcher(model, 8, lanes=2, interactive=lambda: True)
    first = batcher.submit(image(0), BULK)
    assert model.entered.wait(10)
    rest = [batcher.submit(image(n), BULK) for n in range(1, 6)]
    rest.append(batcher.submit(image(7), INTERACTIVE))
    model.gate.set()
    for future in (first, *rest):
        future.result(10)
    assert model.batches[1] == [7, 1], model.batches
    batcher.stop()


def test_bulk_gathers_while_more_of_it_is_coming(batcher: MicroBatcher, model: Model) -> None:
    model.gate.set()
    with batcher.coming(BULK):
        futures = [batcher.submit(image(n), BULK) for n in range(3)]
        assert not model.entered.wait(0.1)
        futures += [batcher.submit(image(n), BULK) for n in range(3, 6)]
        assert [numbers(f) for f in futures[:4]] == [[0], [1], [2], [3]], "a batch is full"
        assert not futures[4].done()
    assert [numbers(f) for f in futures[4:]] == [[4], [5]], "no more is coming"
    assert model.batches == [[0, 1, 2, 3], [4, 5]]


def test_bulk_that_gathers_goes_along_with_an_interactive_image(batcher: MicroBatcher, model: Model) -> None:
    model.gate.set()
    with batcher.coming(BULK):
        bulk = batcher.submit(image(1), BULK)
        with batcher.coming(INTERACTIVE):
            assert numbers(batcher.submit(image(2), INTERACTIVE)) == [2]
        assert numbers(bulk) == [1]
    assert model.batches == [[2, 1]]


def test_bulk_does_not_gather_for_long(
    batcher: MicroBatcher, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.batcher.BULK_WAIT_MAX_SECONDS", 0.05)
    model.gate.set()
    with batcher.coming(BULK):
        assert numbers(batcher.submit(image(1), BULK)) == [1]
