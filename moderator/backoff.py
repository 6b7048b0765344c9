"""How long to wait before the next attempt: longer each time, and never in step with others."""

import random

from moderator.errors import HostUnavailable

#: Longest time, in seconds, between two attempts to reach a host.
HOST_DELAY_MAX_SECONDS = 300.0


def jittered(seconds: float) -> float:
    """Return a random time between three quarters of `seconds` and all of it.

    Otherwise, callers that failed together would retry together, and fail together again.
    """
    return seconds * random.uniform(0.75, 1.0)  # noqa: S311 (spreads load; nothing secret)


def exponential(attempt: int, first: float, most: float) -> float:
    """Return the seconds to wait after a failed attempt: `first`, doubled each time, at most `most`; jittered.

    Args:
        attempt: number of the failed attempt, from 1.
        first: seconds after the first attempt.
        most: the longest wait, in seconds.
    """
    # Beyond 2**64 the bound applies anyway; a float power would overflow.
    return jittered(min(first * 2.0 ** min(attempt - 1, 64), most))


def delay_for_host(error: HostUnavailable, waited: float) -> float:
    """Return the seconds until a task that waits for a host retries: as long again as it has waited so far.

    So a large number of waiting tasks does not retry all the time, and none retries before the host's `retry_after`.
    """
    # Jitter shortens the wait by a quarter at most.
    return jittered(max(error.retry_after / 0.75, min(waited, HOST_DELAY_MAX_SECONDS)))
