"""Errors of a backfill."""

from moderator.errors.moderator_error import ModeratorError


class BackfillError(ModeratorError):
    """A backfill cannot go on."""

    stage = "backfill"


class BackfillBusy(BackfillError):
    """Another process works in the same folder of results."""


class BackfillMismatch(BackfillError):
    """The folder of results belongs to a backfill of another source or policy."""


class BackfillUnreadable(BackfillError):
    """The folder of results is damaged, or cannot be written."""


class ListingFailed(BackfillError):
    """The source cannot be listed."""


class VerdictExpired(BackfillError):
    """Verdicts of an image expired, several times in a row, before they were read."""
