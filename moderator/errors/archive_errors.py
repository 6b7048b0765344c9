"""Errors of the archive of verdicts."""

from moderator.errors.moderator_error import ModeratorError


class ArchiveError(ModeratorError):
    """Base of the errors of the archive."""

    stage = "archive"


class ArchiveUnavailable(ArchiveError):
    """The archive's database or a segment cannot be reached, or refuses to be read or written."""

    transient = True


class ArchiveNewer(ArchiveError):
    """A newer version of the program has upgraded the archive; this one must not touch it."""


class ArchiveOff(ArchiveError):
    """There is no archive: the setting is missing."""


class ArchiveFilterInvalid(ArchiveError):
    """A cursor or another part of a question to the archive is malformed."""


class RecordRefused(ArchiveError):
    """A verdict cannot be written to the archive, whenever it is tried again."""


class SegmentBroken(ArchiveError):
    """A Parquet segment is missing, damaged, or holds something else than the archive wrote."""


class SubjectHeld(ArchiveError):
    """A legal hold forbids an erasure."""


class HoldNotFound(ArchiveError):
    """There is no such legal hold."""


class StatementInvalid(ArchiveError):
    """A verdict has no complete statement of reasons; the message names category and key."""


class ReplayImpossible(ArchiveError):
    """A verdict cannot be judged again: something that it rests on is gone or is another; the message names it."""


class BacktestError(ArchiveError):
    """A back-test cannot be finished."""
