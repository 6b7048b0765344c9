from collections.abc import Iterator
from threading import Event, Lock

import numpy as np
import pytest

from moderator.encoders.encoder import Embeddings, Pixels
from moderator.errors import ModelBroken
from moderator.events import Priority
from workers.batcher import MicroBatcher
from workers.model_watch import FAILED_TRIES_MAX, RECOVERY_WAIT_SECONDS, ModelWatch

BULK = Priority.BULK
SIZE = 4
#: The shade of an image on which a sound model fails.
BAD = 77


class Gpu:
    """A model that can be broken: it raises, or returns NaN, for everything. BAD it never can."""

    def __init__(self) -> None:
        self.broken: str | None = None
        self.calls = 0
        self.entered, self.gate = Event(), Event()
        self.gate.set()
        self._lock = Lock()

    def __call__(self, pixels: Pixels) -> Embeddings:
        with self._lock:
            self.calls += 1
        self.entered.set()
        assert self.gate.wait(10)
        shades = pixels[:, 0, 0, 0].astype(np.float32)
        if self.broken == "raises" or (self.broken != "nan" and BAD in shades):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        rows = np.stack([shades + 1, shades], axis=1)
        return np.full_like(rows, np.nan) if self.broken == "nan" else rows


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def gpu() -> Gpu:
    return Gpu()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(gpu: Gpu, clock: Clock) -> ModelWatch:
    watch = ModelWatch(gpu, SIZE, clock)
    watch.learn()
    return watch


@pytest.fixture
def batcher(gpu: Gpu, watch: ModelWatch) -> Iterator[MicroBatcher]:
    batcher = MicroBatcher(gpu, 4, lanes=1, watch=watch)
    yield batcher
    gpu.gate.set()
    batcher.stop()


def image(shade: int) -> Pixels:
    return np.full((1, SIZE, SIZE, 3), shade, np.uint8)


@pytest.mark.parametrize("how", ["raises", "nan"])
def test_a_model_that_fails_on_everything_is_broken_and_no_image_is_to_blame(
    batcher: MicroBatcher, watch: ModelWatch, gpu: Gpu, how: str
) -> None:
    gpu.gate.clear()
    gpu.entered.clear()
    futures = [batcher.submit(image(1), BULK)]
    assert gpu.entered.wait(10)
    futures += [batcher.submit(image(shade), BULK) for shade in range(2, 30)]
    gpu.broken = how
    before = gpu.calls
    gpu.gate.set()
    for future in futures:
        with pytest.raises(ModelBroken, match="known inputs"):
            future.result(10)
    assert watch.broken is not None
    assert gpu.calls - before <= 4 + 2 * FAILED_TRIES_MAX, (
        "what fails all the time is not asked for every image"
    )
    asked = gpu.calls
    with pytest.raises(ModelBroken):
        batcher.submit(image(50), BULK).result(10)
    assert gpu.calls == asked


@pytest.mark.parametrize("how", ["raises", "nan"])
def test_a_model_that_works_again_is_used_again(
    batcher: MicroBatcher, watch: ModelWatch, gpu: Gpu, clock: Clock, how: str
) -> None:
    gpu.broken = how
    with pytest.raises(ModelBroken):
        batcher.submit(image(1), BULK).result(10)
    watch.test_again()
    assert watch.broken is not None
    assert not watch.hopeless
    gpu.broken = None
    watch.test_again()
    assert watch.broken is None
    assert batcher.submit(image(1), BULK).result(10).embeddings.tolist() == [[2, 1]]
    clock.now += 10 * RECOVERY_WAIT_SECONDS
    assert not watch.hopeless


def test_a_model_that_stays_broken_is_hopeless(
    batcher: MicroBatcher, watch: ModelWatch, gpu: Gpu, clock: Clock
) -> None:
    gpu.broken = "raises"
    with pytest.raises(ModelBroken):
        batcher.submit(image(1), BULK).result(10)
    clock.now += RECOVERY_WAIT_SECONDS + 1
    watch.test_again()
    assert watch.hopeless


def test_images_that_make_the_model_fail_do_not_break_it(
    batcher: MicroBatcher, watch: ModelWatch, gpu: Gpu
) -> None:
    gpu.gate.clear()
    gpu.entered.clear()
    futures = [batcher.submit(image(1), BULK)]
    assert gpu.entered.wait(10)
    futures += [batcher.submit(image(BAD), BULK) for _ in range(20)] + [batcher.submit(image(2), BULK)]
    gpu.gate.set()
    for future in futures[1:-1]:
        with pytest.raises(RuntimeError, match="illegal memory"):
            future.result(10)
    assert futures[0].result(10).embeddings.tolist() == [[2, 1]]
    assert futures[-1].result(10).embeddings.tolist() == [[3, 2]]
    assert watch.broken is None


def test_an_image_of_nan_spoils_no_other_of_its_batch() -> None:
    gate, entered = Event(), Event()

    def embed(pixels: Pixels) -> Embeddings:
        entered.set()
        assert gate.wait(10)
        rows = pixels[:, 0, 0].astype(np.float32) + 1
        if BAD in pixels[:, 0, 0, 0]:
            rows[:] = np.nan  # as where one scale serves a whole batch
        return rows

    watch = ModelWatch(embed, SIZE)
    batcher = MicroBatcher(embed, 4, lanes=1, watch=watch)
    futures = [batcher.submit(image(1), BULK)]
    assert entered.wait(10)
    futures += [batcher.submit(image(shade), BULK) for shade in (2, BAD, 3)]
    gate.set()
    first, second, bad, third = (future.result(10).embeddings for future in futures)
    assert (first[0, 0], second[0, 0], third[0, 0]) == (2, 3, 4)
    assert np.isnan(bad).all()
    assert watch.broken is None
    batcher.stop()


def test_only_what_could_be_answered_at_the_start_is_asked(gpu: Gpu) -> None:
    """A model in half precision may overflow on some pictures, and is not broken by that."""

    def overflows(pixels: Pixels) -> Embeddings:
        return np.where(pixels.max(axis=(1, 2)) > 0, np.nan, 1.0).astype(np.float32)

    watch = ModelWatch(overflows, SIZE)
    watch.learn()
    assert watch.broken is None
    assert watch.blame() is None


def test_a_model_that_answers_nothing_from_the_start_is_broken(gpu: Gpu) -> None:
    gpu.broken = "nan"
    watch = ModelWatch(gpu, SIZE)
    watch.learn()
    assert watch.broken is not None
    gpu.broken = None
    watch.test_again()
    assert watch.broken is None


def test_a_model_that_fails_once_blames_nobody(gpu: Gpu, watch: ModelWatch) -> None:
    """It may be out of memory for a moment: the image comes again, without having used up a try."""
    failing = iter(["raises", None])
    embed = watch._embed

    def flickering(pixels: Pixels) -> Embeddings:
        gpu.broken = next(failing, None)
        return embed(pixels)

    watch._embed = flickering
    assert isinstance(watch.blame(), ModelBroken)
    assert watch.broken is None
