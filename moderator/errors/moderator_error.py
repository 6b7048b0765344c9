"""The base of all errors, and the conversion of errors from other code."""

from typing import ClassVar

from moderator.printable import printable


class ModeratorError(Exception):
    """Base of all errors raised on purpose by this project."""

    transient: ClassVar[bool] = False
    #: Whether the error harmed parts of the worker: an event that does so twice is not attempted a third time.
    harmful: ClassVar[bool] = False
    stage: ClassVar[str] = "internal"


class SettingsError(ModeratorError):
    """A setting is missing, malformed or contradicts another."""

    stage = "settings"


class Unexpected(ModeratorError):
    """An unforeseen error; the worker's log has the traceback."""

    transient = True
    stage = "worker"


def brief(error: BaseException) -> str:
    """Return the type and message of an error from other code, printable and truncated."""
    return printable(f"{type(error).__name__}: {error}", " ")[:300]


def ours(error: Exception) -> ModeratorError:
    """Return the project's error for any exception."""
    return error if isinstance(error, ModeratorError) else Unexpected(brief(error))
