"""Run a slow model on all items that wait, with a time limit for each caller."""

import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Generic, TypeVar

from moderator.errors import ModeratorError, SignalBusy, SignalFailed, SignalTimeout, brief
from moderator.low_priority import lower_thread_priority

log = logging.getLogger(__name__)

A = TypeVar("A")
B = TypeVar("B")

#: Batches that may wait for the model. Whoever comes later is refused at once: it would run out of time.
WAITING_BATCHES_MAX = 4


@dataclass(eq=False)
class _Entry(Generic[A, B]):
    item: A
    key: Hashable
    result: "Future[B]" = field(default_factory=Future)


class BatchRunner(Generic[A, B]):
    """Runs `work` in a low-priority thread of its own, on all waiting items that fit. Thread-safe.

    The thread exists only while items wait. If the model hangs, callers run out of time, and later ones are refused at
    once until it answers.

    Args:
        work: items of equal keys -> as many results.
        name: of the model, for messages.
        batch: most items at once.
        key: items with different keys are never in one batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[A]], Sequence[B]],
        name: str,
        batch: int,
        key: Callable[[A], Hashable] = lambda item: None,
    ) -> None:
        self._work = work
        self._name = name
        self._batch = batch
        self._key = key
        self._waiting: deque[_Entry[A, B]] = deque()
        self._running = False
        self._batch_began: float | None = None
        self._lock = Lock()

    def map(self, items: Sequence[A], seconds: float) -> list[B]:
        """Return the results of some items, which may share batches with other callers' items.

        Args:
            items: any number.
            seconds: most seconds from now until all results are there.

        Raises:
            SignalTimeout: it takes longer; items that still wait are dropped.
            SignalBusy: too many items wait, or the model has not answered for as long as the caller would wait.
            SignalFailed: the model fails on an item.
        """
        until = time.monotonic() + seconds
        entries: list[_Entry[A, B]] = [_Entry(item, self._key(item)) for item in items]
        with self._lock:
            began = self._batch_began
            if began is not None and time.monotonic() - began > seconds:
                raise SignalBusy(f"{self._name} has not answered for more than {seconds:g} s")
            if self._waiting and len(self._waiting) + len(entries) > WAITING_BATCHES_MAX * self._batch:
                raise SignalBusy(f"too many images wait for {self._name}")
            if not self._running:
                Thread(target=self._run, name=f"model-{self._name}", daemon=True).start()
                self._running = True
            self._waiting.extend(entries)
        try:
            return [entry.result.result(max(0.0, until - time.monotonic())) for entry in entries]
        except TimeoutError as error:
            raise SignalTimeout(f"{self._name} took more than {seconds:g} s") from error
        finally:
            for entry in entries:
                entry.result.cancel()  # drops those that wait; no effect on the others

    def _run(self) -> None:
        lower_thread_priority()
        while batch := self._next_batch():
            self._process(batch)

    def _next_batch(self) -> list[_Entry[A, B]]:
        """Return the oldest waiting item and others of its key; an empty list, and the thread ends, if none waits."""
        with self._lock:
            self._batch_began = None
            chosen: list[_Entry[A, B]] = []
            others: deque[_Entry[A, B]] = deque()
            for entry in self._waiting:
                if len(chosen) == self._batch or (chosen and entry.key != chosen[0].key):
                    others.append(entry)
                elif entry.result.set_running_or_notify_cancel():
                    chosen.append(entry)
            self._waiting = others
            if chosen:
                self._batch_began = time.monotonic()
            else:
                self._running = False
            return chosen

    def _process(self, batch: list[_Entry[A, B]]) -> None:
        try:
            results = self._work([entry.item for entry in batch])
            if len(results) != len(batch):
                raise SignalFailed(f"{self._name} gave {len(results)} results for {len(batch)} images")
        except Exception as error:  # model libraries raise anything
            if len(batch) > 1:
                log.warning("%s: a batch of %d failed (%s): one by one", self._name, len(batch), error)
                for entry in batch:
                    self._process([entry])
                return
            ours = (
                error if isinstance(error, ModeratorError) else SignalFailed(f"{self._name}: {brief(error)}")
            )
            batch[0].result.set_exception(ours)
            return
        for entry, result in zip(batch, results, strict=True):
            entry.result.set_result(result)
