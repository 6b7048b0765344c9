"""What keeps an archive in order beside its writing: evidence moves to segments, old verdicts go."""

from collections.abc import Mapping

from moderator.archive.archive_store import Archive
from moderator.archive.retention import retain
from moderator.archive.segments import seal
from moderator.verdicts import Decision


class Maintenance:
    """Keeps an archive in order, in steps; another process that does the same is left to it.

    Args:
        archive: the archive.
        days: for which verdicts are kept, by decision.
    """

    def __init__(self, archive: Archive, days: Mapping[Decision, int]) -> None:
        self._archive = archive
        self._days = days

    def step(self) -> None:
        """Do what is due.

        Raises:
            ArchiveUnavailable: the database or the disk refuses.
            SegmentBroken: a segment with expired evidence is damaged.
        """
        seal(self._archive)
        retain(self._archive, self._days, wait=False)
