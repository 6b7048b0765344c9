"""How many images per second a backfill may send."""

import time
from collections.abc import Callable


class Pace:
    """Spreads images evenly over time.

    Args:
        rate: images per second; None: as many as possible.
        clock: seconds.
    """

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._next = clock()

    def delay(self) -> float:
        """Return the seconds until more images may go; 0: now."""
        return max(0.0, self._next - self._clock())

    def wait(self) -> None:
        """Sleep until more images may go."""
        time.sleep(self.delay())

    def note(self, count: int) -> None:
        """Note that images went."""
        if self._rate is not None:
            self._next = max(self._next, self._clock()) + count / self._rate
