"""What can be wrong with a policy, and with the signals that policies ask for."""

from moderator.errors.moderator_error import ModeratorError


class PolicyError(ModeratorError):
    """Base of what can be wrong with a policy."""

    stage = "score"


class PolicyInvalid(PolicyError):
    """A policy file does not follow the format; the message names file, line, key and remedy.

    Each argument is one problem; the message is one line for each.
    """

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class PolicyUnreadable(PolicyInvalid):
    """A file of the folder of policies cannot be read now; it is read again at the next look at the folder."""


class PolicyNotFound(PolicyError):
    """No policy of that name or version."""


class PolicyUnreleased(PolicyError):
    """A version that should decide is not in `releases.lock`."""


class PolicyChanged(PolicyError):
    """A released version was edited: its digest is not the one in `releases.lock`."""


class PolicyUnusable(PolicyError):
    """A valid version cannot be used here: its prompts do not compile, or a signal lacks its file or its package."""


class PolicyConflict(PolicyError):
    """A policy is not as whoever changes it has seen it: somebody else changed it meanwhile."""


class PolicyNotWritten(PolicyError):
    """The folder of policies cannot be changed: it is read-only, or another command is at it."""


class SignalFailed(ModeratorError):
    """A signal that a policy asks for cannot be made or read, so there is no judgement."""

    stage = "signals"


class SignalTimeout(SignalFailed):
    """Reading a signal takes longer than it may; what was not read may hold anything."""


class SignalBusy(SignalFailed):
    """So many images are being looked at by slow signals that the one of a shadow was left out."""
