"""Who goes first: while interactive events come, bulk keeps to a small part of the worker.

An interactive event waits for whatever is in its way at the moment: a batch in the model, images being decoded,
threads that want the interpreter. So while there are interactive events, bulk has little in hand at once. Without
them it has all of the worker.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from moderator.events import Priority

#: Seconds after an event for which another of its priority is expected.
EXPECTED = 5.0
#: Seconds until bulk that waits looks whether interactive traffic has ended.
LOOK = 1.0


class Traffic:
    """Remembers when the last events came. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = dict.fromkeys(Priority, -math.inf)

    def note(self, priority: Priority) -> None:
        """An event came."""
        self._last[priority] = self._clock()

    def interactive(self) -> bool:
        """Whether interactive events come these seconds."""
        return self._clock() - self._last[Priority.INTERACTIVE] < EXPECTED

    def bulk(self) -> bool:
        """Whether bulk events come these seconds."""
        return self._clock() - self._last[Priority.BULK] < EXPECTED


class Places:
    """Places for so many at once: interactive takes the next that is free, bulk at most `bulk()` of them.

    Args:
        places: how many; may be infinite.
        bulk: how many of them bulk may hold now; at least 1.
    """

    def __init__(self, places: float, bulk: Callable[[], float]) -> None:
        self._places = places
        self._bulk = bulk
        lock = Lock()
        # One each, so that a place that becomes free wakes one thread: the right one.
        self._free = {priority: Condition(lock) for priority in Priority}
        self._held = dict.fromkeys(Priority, 0)
        self._waiting = dict.fromkeys(Priority, 0)

    @contextmanager
    def take(self, priority: Priority, count: int = 1) -> Iterator[None]:
        """Hold a place within this block; waits for it. Who takes several waits for the first only."""
        with self._free[priority]:
            self._waiting[priority] += 1
            while not self._may_enter(priority):
                self._free[priority].wait(LOOK if priority is Priority.BULK else None)
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
        if sum(self._held.values()) >= self._places:
            return False
        if priority is Priority.INTERACTIVE:
            return True
        return not self._waiting[Priority.INTERACTIVE] and self._held[Priority.BULK] < self._bulk()
