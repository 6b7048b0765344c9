"""Detect a consumer that is stuck for good, which nothing inside its process can fix.

Python's `Thread.start` waits for ever if memory is so short that the new thread dies before it reports that it runs;
a connection may be open at our end only; and the events in all places may wait for something that never comes. The
worker then looks healthy from the outside and takes nothing.
"""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Seconds without a turn, with Redis reachable, after which the consumer counts as stuck.
STALL_MAX_SECONDS = 20.0
#: Seconds without finished work while all places of a queue are taken, after which the worker counts as stuck; longer
#: than a large batch takes in a slow model. The time for an image is added. From a third of it the worker is not ready.
FULL_WAIT_MAX_SECONDS = 180.0
#: Seconds between two checks above which this process itself stood still: the machine slept, say.
LATE_LOOK_SECONDS = 5.0


class Watchdog:
    """Watches the turns of the consumer's loop and the finished pieces of work.

    Args:
        reach: checks what the consumer needs; raises while it is unavailable, when standing still is right.
        clock: seconds.
        image: seconds that fetching and decoding an image may take.
    """

    def __init__(
        self, reach: Callable[[], object], clock: Callable[[], float] = time.monotonic, image: float = 0.0
    ) -> None:
        self._reach = reach
        self._clock = clock
        self._full_patience = FULL_WAIT_MAX_SECONDS + 3 * image
        self._turned = self._looked = self._finished = clock()

    def turn(self, full: bool = False) -> None:
        """Note a turn of the consumer's loop. `full`: a queue waits, as all its places are taken."""
        self._turned = self._clock()
        if not full:
            self._finished = self._turned

    def finish(self) -> None:
        """Note that a piece of work is done, whatever its outcome."""
        self._finished = self._clock()

    def jammed(self) -> bool:
        """Return whether full places without finished work have lasted so long that the worker is not ready."""
        return self._clock() - self._finished > self._full_patience / 3

    def stuck(self) -> str | None:
        """Return what the consumer has waited for too long, or None; call it every second or so."""
        before, self._looked = self._looked, self._clock()
        try:
            self._reach()
        except Exception as error:  # whatever keeps us from Redis keeps the consumer from it, too
            log.debug("out of reach: %s", error)
            self.turn()
            return None
        if self._looked - before > LATE_LOOK_SECONDS:
            self.turn()
        if self._clock() - self._turned > STALL_MAX_SECONDS:
            return f"the consumer stands still for {STALL_MAX_SECONDS:g} s"
        if self._clock() - self._finished > self._full_patience:
            return f"all places are full and nothing was finished for {self._full_patience:g} s"
        return None
