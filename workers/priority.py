"""Priorities: while interactive events arrive, bulk is limited to a small part of the worker.

An interactive event waits for anything in its way: a batch in the model, images being decoded, threads that want the
interpreter. So while interactive events arrive, bulk has little in flight at once. Otherwise it may use the whole
worker.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from moderator.events import Priority

#: Seconds after an event for which another of its priority is expected.
EXPECTED_SECONDS = 5.0
#: Seconds between checks by waiting bulk of whether interactive events have ceased.
BULK_RECHECK_SECONDS = 1.0


class PriorityGate:
    """Knows which priorities are arriving, and so how much bulk may run. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = dict.fromkeys(Priority, -math.inf)

    def note(self, priority: Priority) -> None:
        """Note that an event arrived."""
        self._last[priority] = self._clock()

    def interactive(self) -> bool:
        """Return whether interactive events are arriving."""
        return self._clock() - self._last[Priority.INTERACTIVE] < EXPECTED_SECONDS

    def bulk(self) -> bool:
        """Return whether bulk events are arriving."""
        return self._clock() - self._last[Priority.BULK] < EXPECTED_SECONDS

    def bulk_limit(self, few: float, all: float) -> float:
        """Return how much bulk may hold now: `few` while interactive events arrive, else `all`."""
        return few if self.interactive() else all


class PrioritySemaphore:
    """A semaphore that admits interactive holders first, and at most `bulk_limit()` bulk ones.

    Args:
        limit: most holders at once; may be infinite.
        bulk_limit: how many of them may be bulk now; at least 1.
    """

    def __init__(self, limit: float, bulk_limit: Callable[[], float]) -> None:
        self._limit = limit
        self._bulk_limit = bulk_limit
        lock = Lock()
        # One each, so that a leaving thread wakes exactly one other: the right one.
        self._free = {priority: Condition(lock) for priority in Priority}
        self._held = dict.fromkeys(Priority, 0)
        self._waiting = dict.fromkeys(Priority, 0)

    @contextmanager
    def acquire(self, priority: Priority, count: int = 1) -> Iterator[None]:
        """Hold `count` places within this block, waiting for them. Several wait for the first place only."""
        with self._free[priority]:
            self._waiting[priority] += 1
            while not self._may_enter(priority):
                self._free[priority].wait(BULK_RECHECK_SECONDS if priority is Priority.BULK else None)
            self._waiting[priority] -= 1
            self._held[priority] += count
        try:
            yield
        finally:
            with self._free[priority]:
                self._held[priority] -= count
                first = Priority.INTERACTIVE if self._waiting[Priority.INTERACTIVE] else Priority.BULK
                self._free[first].notify(count)

    def _may_enter(self, priority: Priority) -> bool:
        if sum(self._held.values()) >= self._limit:
            return False
        if priority is Priority.INTERACTIVE:
            return True
        return not self._waiting[Priority.INTERACTIVE] and self._held[Priority.BULK] < self._bulk_limit()
