"""Reading verdicts: by event, and as a stream."""

import time
from collections.abc import Callable, Iterator

from moderator.errors import VerdictsMissed, VerdictTimeout
from moderator.queue import commands, keys
from moderator.queue.executors import Executor
from moderator.queue.stream import READ_ENTRIES_MAX, READ_SECONDS, read_verdicts, report
from moderator.verdicts import Verdict


class VerdictStore:
    """The verdicts in one Redis."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def get(self, event_key: str) -> Verdict | None:
        """Return the verdict of an event (`Event.key`), or None if it has none yet, or no longer.

        An image of a bulk event is also found by its id unless a single event of that id has a verdict.

        Raises:
            VerdictUnreadable: this version cannot read the verdict.
        """
        return self._executor.run(commands.verdict(event_key))

    def wait(self, event_key: str, timeout: float) -> Verdict:
        """Wait for an event's verdict.

        Raises:
            VerdictTimeout: none arrived within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._executor.listen(keys.VERDICT_PREFIX + event_key) as wait:
            while True:
                # Look up after each wake-up, the first of which confirms our own subscription: an earlier answer is
                # found here, a later one wakes us. Also look up without a wake-up: a server that hangs wakes nobody,
                # and does not answer the query either.
                left = deadline - time.monotonic()
                wait(max(0.0, min(left, READ_SECONDS)))
                if (verdict := self.get(event_key)) is not None:
                    return verdict
                if left <= 0:
                    raise verdict_late(event_key, timeout)

    def position(self) -> str:
        """Return the id of the newest entry, to `tail` from."""
        newest = self._executor.run(commands.newest_entries(1))
        return newest[0][0] if newest else "0"

    def tail(
        self, after: str, *, follow: bool = True, on_gap: Callable[[VerdictsMissed], object] | None = None
    ) -> Iterator[tuple[str, Verdict]]:
        """Yield verdicts from the stream after an entry id (`position()`: new ones only, `0`: all that is kept).

        Yields the entry id, to resume from later, and the verdict. Stops at the end of the stream unless `follow`.
        Entries that are no verdicts are logged and skipped.

        Raises:
            VerdictsMissed: the entries after that id were trimmed, and there is no `on_gap` to call with the error.
                Resume from its `end`.
        """
        last = after
        while True:
            page = self._executor.run(commands.read_on(last, READ_ENTRIES_MAX))
            report(page.gap, on_gap)
            entries = page.entries
            if not entries:
                if not follow:
                    return
                entries = self._executor.run(commands.await_entries(last, READ_ENTRIES_MAX, READ_SECONDS))
            yield from read_verdicts(entries)
            if entries:
                last = entries[-1][0]

    def newest(self, count: int) -> list[Verdict]:
        """Return the latest verdicts, oldest first; entries that are no verdicts are logged and left out."""
        entries = self._executor.run(commands.newest_entries(count))
        return [verdict for _, verdict in read_verdicts(entries)]


def verdict_late(event_key: str, timeout: float) -> VerdictTimeout:
    """Return the error for a verdict that did not come in time."""
    return VerdictTimeout(
        f"no verdict for {event_key} after {timeout:g} s; is a worker running on this Redis? "
        "`moderator verdicts show` finds it later"
    )
