"""Notices a consumer that stands still for good: nothing inside its process can fix that.

Python's `Thread.start` waits for ever where memory is so short that the new thread dies before it says that it runs;
a connection may be open for us alone; and what is in all the places for events may wait for what never comes. The
worker then looks well from the outside and takes nothing.
"""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Seconds of standing still, with Redis within reach, after which nobody waits any longer.
STALL_MAX_SECONDS = 20.0
#: Seconds without any work finished while all places of a queue are taken, after which nobody waits any longer; longer
#: than a large batch takes in a slow model. What images may take is added. The worker is not ready from a third of it.
FULL_WAIT_MAX_SECONDS = 180.0
#: Seconds between two looks above which it was we who stood still: the machine slept, say.
LATE_LOOK_SECONDS = 5.0


class Watchdog:
    """Is notified of each turn of the consumer's loop and of each piece of work that is finished.

    Args:
        reach: what the consumer needs; raises while that is away, when standing still is right.
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
        """The consumer's loop turns. `full`: a queue waits, as all its places are taken."""
        self._turned = self._clock()
        if not full:
            self._finished = self._turned

    def finish(self) -> None:
        """A piece of work is done, whatever became of it."""
        self._finished = self._clock()

    def jammed(self) -> bool:
        """Whether the places are full and nothing has been finished for so long that the worker is not ready."""
        return self._clock() - self._finished > self._full_patience / 3

    def stuck(self) -> str | None:
        """What the consumer has waited for in vain for too long; to be asked every second or so."""
        before, self._looked = self._looked, self._clock()
        try:
            self._reach()
        except Exception as error:  # whatever it is that keeps us from Redis keeps the consumer, too
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
