"""Places for what takes long: signals that read text, say. They keep off what does not use them.

Whoever wants one and finds too many before it gets that answer at once, and does not wait in a thread that others need.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock, get_native_id
from typing import TypeVar

from moderator.events import Priority
from workers.memory import give_back
from workers.priority import PrioritySemaphore

T = TypeVar("T")

#: By how much the threads' claim to a core is below that of the others (Linux: a niceness of each thread's own).
NICENESS = 10
#: Seconds after which memory is given back to the system that was used here and is free.
GIVE_BACK_EVERY_SECONDS = 10.0


class SlowLane:
    """So many at once, in threads that leave the cores to others, and as many that wait. Thread-safe.

    Args:
        places: how many at once.
        name: of the threads.
    """

    def __init__(self, places: int, name: str) -> None:
        self._places = places
        self._held = 0
        self._given_back = time.monotonic()
        self._lock = Lock()
        self._turns = PrioritySemaphore(places, lambda: places)
        self._threads = ThreadPoolExecutor(places, thread_name_prefix=name, initializer=_step_back)

    def enter(self, priority: Priority) -> bool:
        """Take a place, or one to wait for it; `leave` gives it back. False if there is none: bulk waits for none."""
        with self._lock:
            room = 2 * self._places if priority is Priority.INTERACTIVE else self._places
            if self._held >= room:
                return False
            self._held += 1
            return True

    def leave(self) -> None:
        """Give back what `enter` took."""
        with self._lock:
            self._held -= 1

    @contextmanager
    def turn(self, priority: Priority) -> Iterator[None]:
        """Within this block it is one of so many at once; waits for that, interactive first."""
        with self._turns.acquire(priority):
            yield

    def run(self, work: Callable[[], T]) -> T:
        """Do something in one of the threads; to be called within a turn."""
        return self._threads.submit(self._do, work).result()

    def offer(self, work: Callable[[], T]) -> "Future[T] | None":
        """Have something done in one of the threads, soon; None if too much waits for that already."""
        if not self.enter(Priority.INTERACTIVE):
            return None
        future = self._threads.submit(self._do, work)
        future.add_done_callback(lambda _: self.leave())
        return future

    def _do(self, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            # What is read slowly takes much memory, each time in blocks of other sizes.
            if time.monotonic() - self._given_back > GIVE_BACK_EVERY_SECONDS:
                self._given_back = time.monotonic()
                give_back()

    def close(self) -> None:
        """End the threads; what waits is not done."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _step_back() -> None:
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), NICENESS)
