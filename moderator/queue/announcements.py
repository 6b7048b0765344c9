"""The policies that the workers of this Redis know: during a deployment they may differ.

A worker that does not know an event's policy would answer with an error where another could judge.
"""

from collections.abc import Iterable
from itertools import islice

from moderator.queue import keys
from moderator.queue.commands import Command
from moderator.queue.executors import Executor

#: Seconds for which an announcement holds, and so for which a dead worker still counts.
ANNOUNCEMENT_SECONDS = 20.0
#: Most policies that one worker announces.
POLICIES_ANNOUNCED_MAX = 2000


class Announcements:
    """The announcements of workers in one Redis."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def announce(self, references: Iterable[str]) -> None:
        """Announce that this worker knows these policies (`NAME`, `NAME@VERSION`); repeat while it lives."""
        some = list(islice(references, POLICIES_ANNOUNCED_MAX))
        if some:
            self._executor.run(Command("announce", [keys.KNOWN_POLICIES], [ANNOUNCEMENT_SECONDS, *some], int))

    def knows(self, reference: str) -> bool:
        """Return whether a recently live worker knows a policy."""
        return self._executor.run(Command("announced", [keys.KNOWN_POLICIES], [reference], bool))
