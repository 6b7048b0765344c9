"""What other packages use of the archive."""

from moderator.archive.archive_store import Added, Archive, ArchivedVerdict, open_archive
from moderator.archive.verdict_filter import VerdictFilter, VerdictPage

__all__ = ["Added", "Archive", "ArchivedVerdict", "VerdictFilter", "VerdictPage", "open_archive"]
