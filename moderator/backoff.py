"""How long to wait before the next try: longer each time, and never in step with others."""

import random


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
