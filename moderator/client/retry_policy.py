"""Whether and when a call that failed is tried again. Pure, but for the clock."""

import time

from moderator.backoff import exponential
from moderator.errors import ModeratorError, VerdictTimeout

#: Seconds before the first retry, and the longest pause between two.
RETRY_PAUSE_FIRST_SECONDS, RETRY_PAUSE_MAX_SECONDS = 0.1, 5.0


class RetryBudget:
    """The time that one call has for retries. Repeating any call of a client is safe: ids make it idempotent.

    Args:
        seconds: from now on; 0: no retry.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Start again: what was asked for has been answered."""
        self._end = time.monotonic() + self._seconds
        self._failures = 0

    def pause_after(self, error: ModeratorError) -> float:
        """Return the seconds to wait before the next try: longer each time, jittered, at least what was asked for.

        Raises:
            ModeratorError: `error` itself, if a retry does not help or would come too late.
        """
        self._failures += 1
        asked: float = getattr(error, "retry_after", 0.0)
        pause = max(asked, exponential(self._failures, RETRY_PAUSE_FIRST_SECONDS, RETRY_PAUSE_MAX_SECONDS))
        late = time.monotonic() + pause > self._end
        if not error.transient or isinstance(error, VerdictTimeout) or late:
            raise error
        return pause
