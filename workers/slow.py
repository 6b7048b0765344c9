"""Places for slow work, such as signals that read text, which keep it out of the way of other work.

A caller that finds too many ahead of it is refused at once, and does not wait in a thread that others need.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from moderator.events import Priority
from moderator.low_priority import lower_thread_priority
from workers.memory import give_back
from workers.places import Places
from workers.priority import PrioritySemaphore

T = TypeVar("T")

#: Seconds after which memory freed here is returned to the system.
GIVE_BACK_EVERY_SECONDS = 10.0


class SlowLane:
    """Runs `places` pieces of work at once, in low-priority threads, while as many wait. Thread-safe.

    Args:
        places: how many run at once.
        name: of the threads.
    """

    def __init__(self, places: int, name: str) -> None:
        self._line = Places(2 * places)
        self._given_back = time.monotonic()
        self._turns = PrioritySemaphore(places, lambda: places)
        self._threads = ThreadPoolExecutor(places, thread_name_prefix=name, initializer=lower_thread_priority)

    def enter(self, priority: Priority) -> bool:
        """Take a place, or one in the line (not for bulk); `leave` gives it back. Return False if none is free."""
        return self._line.enter(priority)

    def leave(self) -> None:
        """Give back what `enter` took."""
        self._line.leave()

    @contextmanager
    def turn(self, priority: Priority) -> Iterator[None]:
        """Run the block in turn, as one of `places` at once; interactive callers go first."""
        with self._turns.acquire(priority):
            yield

    def run(self, work: Callable[[], T]) -> T:
        """Run work in one of the threads; call it within a turn."""
        return self._threads.submit(self._do, work).result()

    def offer(self, work: Callable[[], T]) -> "Future[T] | None":
        """Schedule work in one of the threads; return None if too much waits already."""
        if not self.enter(Priority.INTERACTIVE):
            return None
        future = self._threads.submit(self._do, work)
        future.add_done_callback(lambda _: self.leave())
        return future

    def _do(self, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            # Slow readings take much memory, each time in blocks of other sizes.
            if time.monotonic() - self._given_back > GIVE_BACK_EVERY_SECONDS:
                self._given_back = time.monotonic()
                give_back()

    def close(self) -> None:
        """End the threads; waiting work is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
