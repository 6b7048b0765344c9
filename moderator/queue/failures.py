"""The errors that callers of the queue get when Redis fails; shared by threads and event loops."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from moderator.errors import QueueUnavailable, RedisMisused
from moderator.events import Event


@contextmanager
def failing_as(unavailable: Callable[[Exception], QueueUnavailable]) -> Iterator[None]:
    """Replace an error of Redis, or of a key with foreign data, with the error that `unavailable` returns."""
    try:
        yield
    except (RedisError, RedisMisused) as error:
        raise unavailable(error) from error


def not_accepted(event: Event, error: Exception) -> QueueUnavailable:
    """Return the error for an event, or the first of many, that Redis did not accept."""
    # Without an answer it may have arrived: the caller must submit it again with the same id.
    fate = (
        f"{event.id} may be on the queue all the same"
        if isinstance(error, RedisTimeoutError)
        else "nothing is on the queue"
    )
    return QueueUnavailable(
        f"Redis did not accept the event ({error}); {fate}. Check MODERATOR_REDIS_URL "
        "and that the server runs, then submit again: the same id is accepted once"
    )


def not_replayed(key: str, error: Exception) -> QueueUnavailable:
    """Return the error for a dead letter that Redis did not take back."""
    return QueueUnavailable(f"Redis did not take {key} back ({error}); try again")


def not_revised(key: str, error: Exception) -> QueueUnavailable:
    """Return the error for a verdict that Redis did not revise."""
    fate = (
        "it may be revised all the same: look at it first, then try again"
        if isinstance(error, RedisTimeoutError)
        else "nothing has changed; try again"
    )
    return QueueUnavailable(f"Redis did not revise the verdict of {key} ({error}); {fate}")


def not_answered(error: Exception) -> QueueUnavailable:
    """Return the error for a query that Redis did not answer."""
    return QueueUnavailable(
        f"Redis does not answer ({error}); check MODERATOR_REDIS_URL and that the server runs, then ask again"
    )


def not_dropped(key: str, error: Exception) -> QueueUnavailable:
    """Return the error for a dead letter that Redis did not forget."""
    return QueueUnavailable(f"Redis did not drop {key} ({error}); try again")


def typed(error: ResponseError) -> RedisMisused | ResponseError:
    """Return `RedisMisused` for a key of the wrong type; any other error unchanged."""
    if not str(error).startswith("WRONGTYPE"):
        return error
    return RedisMisused(
        f"{str(error).removeprefix('WRONGTYPE ')}: something else writes into our Redis. Nothing has changed; rename "
        "that key, and what waits goes on"
    )
