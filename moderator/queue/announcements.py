"""Which policies the workers of this Redis can judge by: during a deployment not all have the same.

A worker that does not know an event's policy would answer with an error what another one could judge.
"""

from collections.abc import Iterable
from itertools import islice

from moderator.queue import keys
from moderator.queue.commands import Command
from moderator.queue.executors import Executor

#: Seconds for which an announcement holds: a worker that is gone is believed no longer than that.
ANNOUNCEMENT_SECONDS = 20.0
#: Most policies that one worker announces.
POLICIES_ANNOUNCED_MAX = 2000


class Announcements:
    """What workers announce in one Redis."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def announce(self, references: Iterable[str]) -> None:
        """Say that this worker judges by these policies (`NAME`, `NAME@VERSION`); to be repeated while it lives."""
        some = list(islice(references, POLICIES_ANNOUNCED_MAX))
        if some:
            self._executor.run(Command("announce", [keys.KNOWN_POLICIES], [ANNOUNCEMENT_SECONDS, *some], int))

    def knows(self, reference: str) -> bool:
        """Whether a worker that was alive a moment ago judges by a policy."""
        return self._executor.run(Command("announced", [keys.KNOWN_POLICIES], [reference], bool))
