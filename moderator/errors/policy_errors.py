"""Errors of policies, and of the signals that they use."""

from moderator.errors.moderator_error import ModeratorError


class PolicyError(ModeratorError):
    """Base of the errors of policies."""

    stage = "score"


class PolicyInvalid(PolicyError):
    """A policy file does not follow the format; the message names file, line, key and remedy.

    Each argument is one problem; the message has one line for each.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class PolicyUnreadable(PolicyInvalid):
    """A file in the policy folder cannot be read now; the next check of the folder retries."""


class PolicyNotFound(PolicyError):
    """No policy of that name or version."""


class PolicyUnreleased(PolicyError):
    """A version that should decide is not in `releases.lock`."""


class PolicyChanged(PolicyError):
    """A released version was edited: its digest is not the one in `releases.lock`."""


class PolicyUnusable(PolicyError):
    """A valid version cannot be used here: its prompts do not compile, or a signal lacks its file or its package."""


class EncoderForeign(PolicyUnusable):
    """The thresholds of a version were measured on other encoders than this machine's: they would mean nothing here."""


class PolicyConflict(PolicyError):
    """A policy differs from what its editor last saw: another process changed it meanwhile."""


class PolicyNotWritten(PolicyError):
    """The policy folder cannot be changed: it is read-only, or another command is changing it."""


class SignalFailed(ModeratorError):
    """A signal that a policy uses cannot be made or read, so there is no judgement."""

    stage = "signals"


class SignalTimeout(SignalFailed):
    """Reading a signal took longer than allowed; the unread part may hold anything."""


class SignalBusy(SignalFailed):
    """A shadow's slow signal was left out because too many images wait for slow signals."""
