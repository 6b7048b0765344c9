"""The base of all errors, and what becomes of the errors of other code."""

from typing import ClassVar

from moderator.printable import printable


class ModeratorError(Exception):
    """Base of all errors raised on purpose by this project."""

    transient: ClassVar[bool] = False
    #: Whether the worker's own parts suffered: an event that does so twice is not tried a third time.
    harmful: ClassVar[bool] = False
    stage: ClassVar[str] = "internal"


class SettingsError(ModeratorError):
    """A setting is missing, malformed or contradicts another."""

    stage = "settings"


class Unexpected(ModeratorError):
    """Something raised an error that nobody foresaw; the worker's log has the traceback."""

    transient = True
    stage = "worker"


def brief(error: BaseException) -> str:
    """An error of somebody else's code: its type and message, printable and bounded."""
    return printable(f"{type(error).__name__}: {error}", " ")[:300]


def ours(error: Exception) -> ModeratorError:
    """An error of this project for whatever was raised."""
    return error if isinstance(error, ModeratorError) else Unexpected(brief(error))
