"""Errors of clients that reach the service through its HTTP gateway."""

from moderator.errors.moderator_error import ModeratorError


class ApiKeyRefused(ModeratorError):
    """The gateway does not know the API key, or the key may not do this."""

    stage = "intake"


class NotAGateway(ModeratorError):
    """What answered is no gateway of this project, or one of a version that this client cannot read."""

    stage = "intake"


class OnlyOverRedis(ModeratorError):
    """The client reaches the service over HTTP, and this is possible only over Redis."""

    stage = "intake"
