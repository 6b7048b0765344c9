"""Who goes first: while interactive events come, bulk keeps to a small part of the worker.

An interactive event waits for whatever is in its way at the moment: a batch in the model, images being decoded,
threads that want the interpreter. So while there are interactive events, bulk has little in flight at once. Without
them it has all of the worker.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from moderator.events import Priority

#: After an event, for so long another of its priority is expected.
EXPECTED_SECONDS = 5.0
#: How often bulk that waits looks whether interactive events have ceased.
BULK_RECHECK_SECONDS = 1.0


class PriorityGate:
    """Knows which priorities come these seconds, and so how far bulk may go. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = dict.fromkeys(Priority, -math.inf)

    def note(self, priority: Priority) -> None:
        """Remember that an event came."""
        self._last[priority] = self._clock()

    def interactive(self) -> bool:
        """Return whether interactive events come these seconds."""
        return self._clock() - self._last[Priority.INTERACTIVE] < EXPECTED_SECONDS

    def bulk(self) -> bool:
        """Return whether bulk events come these seconds."""
        return self._clock() - self._last[Priority.BULK] < EXPECTED_SECONDS

    def bulk_limit(self, few: float, all: float) -> float:
        """Return how much bulk may hold now: `few` while interactive events come, else `all`."""
        return few if self.interactive() else all


class PrioritySemaphore:
    """Lets so many in at once: interactive next whenever one leaves, of bulk at most `bulk_limit()`.

    Args:
        limit: how many; may be infinite.
        bulk_limit: how many of them may be bulk now; at least 1.
    """

    def __init__(self, limit: float, bulk_limit: Callable[[], float]) -> None:
        self._limit = limit
        self._bulk_limit = bulk_limit
        lock = Lock()
        # One each, so that whoever leaves wakes one thread: the right one.
        self._free = {priority: Condition(lock) for priority in Priority}
        self._held = dict.fromkeys(Priority, 0)
        self._waiting = dict.fromkeys(Priority, 0)

    @contextmanager
    def acquire(self, priority: Priority, count: int = 1) -> Iterator[None]:
        """Be one of those inside within this block, or several; waits for it. Several wait for the first place only."""
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
