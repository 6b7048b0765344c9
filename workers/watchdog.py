"""Notices a consumer that stands still for good: nothing inside its process can mend that.

Python's `Thread.start` waits for ever where memory is so short that the new thread dies before it says that it runs;
and a connection may be open for us alone. The worker then looks well from the outside and takes nothing.
"""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Seconds of standing still, with Redis within reach, after which nobody waits any longer.
PATIENCE = 20.0
#: Seconds between two looks above which it was we who stood still: the machine slept, say.
LATE = 5.0


class Watchdog:
    """Is told of each turn of the consumer's loop, and looks whether they still come.

    Args:
        reach: what the consumer needs; raises while that is away, when standing still is right.
        clock: seconds.
    """

    def __init__(self, reach: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._reach = reach
        self._clock = clock
        self._turned = self._looked = clock()

    def turn(self) -> None:
        """The consumer's loop turns."""
        self._turned = self._clock()

    def stuck(self) -> bool:
        """Whether the consumer stood still for long while it could work; to be asked every second or so."""
        before, self._looked = self._looked, self._clock()
        try:
            self._reach()
        except Exception as error:  # whatever it is that keeps us from Redis keeps the consumer, too
            log.debug("out of reach: %s", error)
            self.turn()
            return False
        if self._looked - before > LATE:
            self.turn()
        return self._clock() - self._turned > PATIENCE
