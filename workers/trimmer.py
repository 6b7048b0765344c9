"""Trim the verdict stream to its length, and report groups of readers that are left behind."""

import logging

from moderator.queue.connection import Redis
from moderator.queue.stream_state import read_stream, trim_stream

log = logging.getLogger(__name__)


class StreamTrimmer:
    """Trims the stream; several workers may do so at once.

    Args:
        client: connection.
        length: approximate number of verdicts to keep if no group needs older ones.
    """

    def __init__(self, client: Redis, length: int) -> None:
        self._redis = client
        self._length = length
        self._behind: frozenset[str] = frozenset()

    def trim(self) -> None:
        """Trim once, and log each group that began to miss verdicts since the last time."""
        trim_stream(self._redis, self._length)
        missed = {group.name: group.missed for group in read_stream(self._redis).groups if group.missed}
        for name in sorted(missed.keys() - self._behind):
            log.warning(
                "the group %s of readers is behind by more than the stream keeps: %d verdicts left it unread so far; "
                "start its readers, or delete it: XGROUP DESTROY",
                name,
                missed[name],
            )
        self._behind = frozenset(missed)
