"""What the workers of this Redis know and hold of the policies: during a deployment they may differ.

A worker that does not know an event's policy would answer with an error where another could judge. And whoever changes
a policy wants to know which workers have the change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from moderator.policies.pointer_schema import Pointer
from moderator.queue import keys
from moderator.queue.commands import Command
from moderator.queue.executors import Executor

#: Seconds for which an announcement holds, and so for which a dead worker still counts.
ANNOUNCEMENT_SECONDS = 20.0
#: Most policies that one worker announces.
POLICIES_ANNOUNCED_MAX = 2000
#: Most characters of a problem in an announcement.
PROBLEM_CHARACTERS_MAX = 500


class HeldPolicy(BaseModel):
    """What a worker holds of one policy."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    pointer: Pointer | None
    """By which it judges; None: no version can be used."""
    digest: str | None
    """Of the active version."""
    read: Pointer | None
    """What it last read in `active.yaml`: something else if that cannot be used."""
    problem: str = ""
    """Why not, or why a shadow fails."""

    def has(self, pointer: Pointer) -> bool:
        """Return whether the worker judges by this pointer, and each version that it names can be used."""
        return self.pointer == pointer and not self.problem

    def failed(self, pointer: Pointer) -> bool:
        """Return whether the worker has read this pointer and cannot use it."""
        return self.read == pointer and bool(self.problem)


@dataclass(frozen=True)
class HeldByWorker:
    """What a live worker holds."""

    worker: str
    policies: Mapping[str, HeldPolicy]


_HELD = TypeAdapter(dict[str, HeldPolicy], config=ConfigDict(defer_build=True))


class Announcements:
    """The announcements of workers in one Redis.

    Args:
        executor: runs commands.
        worker: name of the worker that announces; empty for a reader.
    """

    def __init__(self, executor: Executor, worker: str = "") -> None:
        self._executor = executor
        self._worker = worker

    def announce(self, references: Iterable[str], held: Mapping[str, HeldPolicy]) -> None:
        """Announce that this worker knows these policies (`NAME`, `NAME@VERSION`); repeat while it lives.

        Args:
            references: that events may use.
            held: by the names of policies.
        """
        some = dict(islice(held.items(), POLICIES_ANNOUNCED_MAX))
        args = [ANNOUNCEMENT_SECONDS, self._worker, _HELD.dump_json(some).decode()]
        args += islice(references, POLICIES_ANNOUNCED_MAX)
        script_keys = [keys.KNOWN_POLICIES, keys.LIVE_WORKERS, keys.HELD_POLICIES]
        self._executor.run(Command("announce", script_keys, args, int))

    def leave(self) -> None:
        """Announce that this worker ends."""
        script_keys = [keys.LIVE_WORKERS, keys.HELD_POLICIES]
        self._executor.run(Command("leave", script_keys, [self._worker], bool))

    def knows(self, reference: str) -> bool:
        """Return whether a recently live worker knows a policy."""
        return self._executor.run(Command("announced", [keys.KNOWN_POLICIES], [reference], bool))

    def held(self) -> list[HeldByWorker]:
        """Return what each recently live worker holds. Of one whose announcement cannot be read: nothing."""
        script_keys = [keys.LIVE_WORKERS, keys.HELD_POLICIES]
        return self._executor.run(Command("held", script_keys, [], _read_held))


def _read_held(answer: list[bytes]) -> list[HeldByWorker]:
    return [
        HeldByWorker(worker.decode("utf-8", "replace"), _parsed(content))
        for worker, content in zip(answer[::2], answer[1::2], strict=True)
    ]


def _parsed(content: bytes) -> dict[str, HeldPolicy]:
    try:
        return _HELD.validate_json(content)
    except ValidationError:
        return {}
