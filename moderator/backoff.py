"""How long to wait before the next try: longer each time, and never in step with others."""

import random

from moderator.errors import HostUnavailable

#: Longest time, in seconds, between two tries of what waits for a host.
HOST_DELAY_MAX_SECONDS = 300.0


def jittered(seconds: float) -> float:
    """Return a random time between three quarters of `seconds` and all of it.

    Callers that failed together would otherwise come back together, and fail together again.
    """
    return seconds * random.uniform(0.75, 1.0)  # noqa: S311 (spreads load; nothing secret)


def exponential(attempt: int, first: float, most: float) -> float:
    """Return the seconds to wait after a failed try: `first`, doubled at each try, at most `most`; jittered.

    Args:
        attempt: number of the try that failed, from 1.
        first: seconds after the first try.
        most: the longest wait, in seconds.
    """
    # Beyond 2**64 the bound has long decided; a float power would overflow.
    return jittered(min(first * 2.0 ** min(attempt - 1, 64), most))


def delay_for_host(error: HostUnavailable, waited: float) -> float:
    """Return the seconds until what waits for a host asks again: as long again as it has waited for it.

    So many do not ask all the time; but none does before the host may be asked.
    """
    # Jitter takes a quarter at most.
    return jittered(max(error.retry_after / 0.75, min(waited, HOST_DELAY_MAX_SECONDS)))
