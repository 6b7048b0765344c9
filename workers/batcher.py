"""The micro-batcher: runs the model on all waiting images, whenever it is free.

An idle model takes a single interactive image at once, so batching adds no delay; a busy one finds a batch waiting
when it is done. There is nothing to tune but the largest batch. A second thread keeps the next batch ready, so that
no core or GPU idles between two batches.

Bulk is not urgent: while more of it is being decoded, it gathers until it fills a batch, for at most
`BULK_WAIT_MAX_SECONDS`.

While interactive images arrive, bulk runs in small batches, one at a time: an interactive image waits for at most
one of them, and does not share the cores with another.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Thread

import numpy as np

from moderator.encoders.encoder import Embeddings, Pixels
from moderator.errors import ModelBroken, WorkerStopping
from moderator.events import Priority
from workers.model_watch import ModelWatch, sound

log = logging.getLogger(__name__)

#: Most seconds that bulk waits for more: the images to come may be slow, or all broken.
BULK_WAIT_MAX_SECONDS = 1.0


def small_batch(max_batch: int) -> int:
    """Return the most frames of a bulk batch while interactive images arrive: a quarter of the largest batch."""
    return max(1, max_batch // 4)


@dataclass(frozen=True)
class BatchedEmbeddings:
    """The embeddings of one image, and the seconds that it waited for the model and spent in it."""

    embeddings: Embeddings
    waited: float
    embed: float


@dataclass(eq=False)
class _Item:
    pixels: Pixels
    priority: Priority
    future: "Future[BatchedEmbeddings]" = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)


def fitting(
    waiting: Mapping[Priority, deque[_Item]],
    max_batch: int,
    interactive: bool,
    running: Mapping[Priority, int],
    more: bool = False,
) -> dict[Priority, int]:
    """Return how many waiting images go into the next batch, interactive first, each priority in order.

    Args:
        waiting: images by priority.
        max_batch: most frames, unless one image alone has more.
        interactive: whether interactive images are arriving. Then a batch with bulk in it is small, and has the
            model to itself: two forward passes side by side would slow each other down several times.
        running: batches in the model that have images of a priority.
        more: whether more bulk is about to arrive. Then bulk alone waits until it fills a batch, which the model
            processes at more images per second; preparing the images needs the cores meanwhile.
    """
    chosen = dict.fromkeys(Priority, 0)
    if interactive and running[Priority.BULK]:
        return chosen
    filled = sum(len(item.pixels) for item in waiting[Priority.BULK]) >= max_batch
    if more and not (filled or interactive or waiting[Priority.INTERACTIVE]):
        return chosen
    limits = dict.fromkeys(Priority, max_batch)
    if interactive:
        limits[Priority.BULK] = 0 if running[Priority.INTERACTIVE] else small_batch(max_batch)
    frames = 0
    for priority, limit in limits.items():
        for item in waiting[priority]:
            if not limit or (frames and frames + len(item.pixels) > limit):
                break
            chosen[priority] += 1
            frames += len(item.pixels)
    return chosen


class MicroBatcher:
    """Runs `embed` on batches, from `lanes` threads.

    Args:
        embed: uint8 [n, size, size, 3] -> float32 [n, dimension].
        max_batch: most frames in one call, unless one image alone has more.
        on_batch: called after each batch with its number of frames and its seconds.
        lanes: batches in the model or ready for it.
        interactive: whether interactive images are arriving.
        watch: knows whether the model works; without one, each failure is blamed on the image.
    """

    def __init__(
        self,
        embed: Callable[[Pixels], Embeddings],
        max_batch: int,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
        lanes: int = 2,
        interactive: Callable[[], bool] = lambda: False,
        watch: ModelWatch | None = None,
    ) -> None:
        self._embed = embed
        self._max_batch = max_batch
        self._on_batch = on_batch
        self._interactive = interactive
        self._watch = watch
        self._running = dict.fromkeys(Priority, 0)
        # Interactive images go first; bulk gets the remaining room.
        self._waiting: dict[Priority, deque[_Item]] = {priority: deque() for priority in Priority}
        self._wake = Condition()
        self._coming = 0
        self._stopping = False
        self._threads = [Thread(target=self._run, name=f"batch-{n}", daemon=True) for n in range(lanes)]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Return whether the threads run."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def broken(self) -> ModelBroken | None:
        """Return why the model judges nothing; None while it works."""
        return self._watch.broken if self._watch is not None else None

    def submit(self, pixels: Pixels, priority: Priority) -> "Future[BatchedEmbeddings]":
        """Queue the frames of one image, uint8 [frames, size, size, 3].

        The future fails with the model's error, with `ModelBroken` if the image is not to blame, or with
        `WorkerStopping`. If the model returns NaN instead of an embedding for this image alone, that is the result.
        """
        item = _Item(pixels, priority)
        with self._wake:
            if self._stopping:
                item.future.set_exception(WorkerStopping("the worker is stopping"))
            elif fault := self.broken:
                item.future.set_exception(fault)
            else:
                self._waiting[priority].append(item)
                self._wake.notify()
        return item.future

    @contextmanager
    def coming(self, priority: Priority) -> Iterator[None]:
        """Announce images: within this block they are prepared and submitted, except broken ones."""
        if priority is Priority.INTERACTIVE:
            yield
            return
        with self._wake:
            self._coming += 1
        try:
            yield
        finally:
            with self._wake:
                self._coming -= 1
                if not self._coming:
                    self._wake.notify()

    def stop(self) -> None:
        """Finish the batches in flight, fail the waiting images, and end the threads."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()
        for queue in self._waiting.values():
            while queue:
                queue.popleft().future.set_exception(WorkerStopping("the worker is stopping"))

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                self._process(batch)
            finally:
                with self._wake:
                    for priority in {item.priority for item in batch}:
                        self._running[priority] -= 1
                    self._wake.notify()

    def _next_batch(self) -> list[_Item]:
        """Wait for images and take as many as fit; return an empty list at shutdown."""
        with self._wake:
            while not self._stopping:
                chosen = fitting(
                    self._waiting, self._max_batch, self._interactive(), self._running, self._gathering()
                )
                batch = [self._waiting[p].popleft() for p in Priority for _ in range(chosen[p])]
                if batch:
                    for priority in {item.priority for item in batch}:
                        self._running[priority] += 1
                    return batch
                # Waiting images that do not fit are considered when the batch in the model is done, or more arrive.
                self._wake.wait(BULK_WAIT_MAX_SECONDS if self._gathering() else None)
            return []

    def _gathering(self) -> bool:
        """Return whether waiting bulk should wait for more."""
        bulk = self._waiting[Priority.BULK]
        return self._coming > 0 and bool(bulk) and time.perf_counter() - bulk[0].since < BULK_WAIT_MAX_SECONDS

    def _process(self, batch: list[_Item]) -> None:
        if fault := self.broken:
            for item in batch:
                item.future.set_exception(fault)
            return
        start = time.perf_counter()
        try:
            embeddings = self._embed(
                batch[0].pixels if len(batch) == 1 else np.concatenate([item.pixels for item in batch])
            )
        except Exception as error:
            self._fail(batch, error)
            return
        seconds = time.perf_counter() - start
        self._on_batch(len(embeddings), seconds)
        at = 0
        suspects = []
        for item in batch:
            count = len(item.pixels)
            answer = BatchedEmbeddings(embeddings[at : at + count], start - item.since, seconds)
            at += count
            if self._watch is None or sound(answer.embeddings):
                item.future.set_result(answer)
            elif len(batch) > 1:
                suspects.append(item)
            elif fault := self._blame():
                item.future.set_exception(fault)
            else:
                item.future.set_result(answer)
        for item in suspects:
            self._process_alone(item)

    def _fail(self, batch: list[_Item], error: Exception) -> None:
        """Find out whether the model or an image made a batch fail."""
        if len(batch) == 1:
            batch[0].future.set_exception(self._blame() or error)
            return
        log.warning("a batch of %d failed (%s): running its images one by one", len(batch), error)
        for item in batch:
            self._process_alone(item)

    def _process_alone(self, item: _Item) -> None:
        # Once the model is known to be broken, the rest of the batch need not be tried.
        if fault := self.broken:
            item.future.set_exception(fault)
        else:
            self._process([item])

    def _blame(self) -> ModelBroken | None:
        return self._watch.blame() if self._watch is not None else None
