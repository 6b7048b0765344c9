"""The condition that a worker waits for at startup."""

import logging
import time

from redis import Redis

from moderator.backoff import jittered
from moderator.errors import QueueUnavailable, SettingsError

log = logging.getLogger(__name__)

REDIS_WAIT_MAX_SECONDS = 60.0


def wait_for_redis(redis: Redis) -> None:
    """Return once Redis answers.

    Raises:
        QueueUnavailable: it does not answer within a minute.
        SettingsError: it answers, but the service cannot use it.
    """
    deadline = time.monotonic() + REDIS_WAIT_MAX_SECONDS
    while True:
        try:
            redis.ping()
            return
        except SettingsError:  # waiting does not help
            raise
        except Exception as error:
            if time.monotonic() > deadline:
                raise QueueUnavailable(
                    f"Redis does not answer ({error}); start it, or set MODERATOR_REDIS_URL"
                ) from error
            log.warning("waiting for Redis: %s", error)
            time.sleep(jittered(1.0))
