"""Errors of acting on objects in buckets after their verdicts."""

from moderator.errors.moderator_error import ModeratorError


class ObjectChanged(ModeratorError):
    """An object is no longer what was judged, so nothing was done to it."""

    stage = "delivery"


class ObjectUnverified(ModeratorError):
    """Nothing says which state of an object was judged: neither a version nor a digest."""

    stage = "delivery"


class ObjectActionRefused(ModeratorError):
    """The object store refuses an action, or the object may not be acted on."""

    stage = "delivery"


class ObjectActionFailed(ModeratorError):
    """The object store did not do what it was asked; a retry may help."""

    transient = True
    stage = "delivery"
