"""The Lua scripts: each is one change in Redis, whole or not at all."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from redis.exceptions import RedisError, ResponseError

from moderator.errors import RedisMisused
from moderator.queue.connection import Redis

Call = tuple[list[str], list[Any]]
"""Keys and arguments."""


class Script:
    """One of the scripts in `lua/`, in one Redis.

    Raises, when it is called:
        RedisMisused: a key holds what is not ours; nothing has changed.
        RedisError: whatever else Redis raises.
    """

    def __init__(self, client: Redis, name: str) -> None:
        self._redis = client
        self._script = client.register_script(_read("common") + _read(name))

    def __call__(self, keys: list[str], args: Sequence[Any]) -> Any:
        """Run it."""
        try:
            return self._script(keys=keys, args=args)
        except ResponseError as error:
            raise _typed(error) from error

    def run_each(self, calls: Sequence[Call]) -> list[Any]:
        """Run it with keys and arguments for each of many, in one round trip.

        Returns the answers; in place of an answer, the `RedisMisused` of a call that changed nothing.
        """
        if not calls:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for keys, args in calls:
                self._script(keys=keys, args=args, client=pipe)
            answers = pipe.execute(raise_on_error=False)
        answers = [_typed(a) if isinstance(a, ResponseError) else a for a in answers]
        for answer in answers:
            if isinstance(answer, RedisError):
                raise answer
        return answers


@cache
def _read(name: str) -> str:
    return (files("moderator.queue") / "lua" / f"{name}.lua").read_text()


def _typed(error: ResponseError) -> RedisMisused | ResponseError:
    if not str(error).startswith("WRONGTYPE"):
        return error
    return RedisMisused(
        f"{str(error).removeprefix('WRONGTYPE ')}: something else writes into our Redis. Nothing has changed; rename "
        "that key, and what waits goes on"
    )
