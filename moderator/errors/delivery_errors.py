"""Errors of delivering verdicts to webhooks and other consumers of the outbox."""

from moderator.errors.moderator_error import ModeratorError


class WebhookFailed(ModeratorError):
    """A webhook did not accept a verdict; `retry_after` is the delay in seconds that it asked for."""

    transient = True
    stage = "webhook"

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WebhookRedirected(ModeratorError):
    """A webhook answered with a redirect, which is not followed: the sender of the event did not name that address."""

    stage = "webhook"


class WebhookDisabled(ModeratorError):
    """A webhook answered that it is gone for good, so its address gets no more deliveries."""

    stage = "webhook"


class ConsumerUnavailable(ModeratorError):
    """A consumer of the outbox can take no verdict at all now."""

    transient = True
    stage = "delivery"


class DeliveryUnreadable(ModeratorError):
    """The record of a delivery is unreadable; `key`, `url` and `body` are what is left of it."""

    stage = "webhook"

    def __init__(self, key: bytes, url: bytes = b"", body: bytes = b"") -> None:
        super().__init__(
            f"the record of the delivery {key.decode('utf-8', 'replace')} cannot be read: another version or another "
            "program wrote it; the verdict itself is in the stream"
        )
        self.key, self.url, self.body = key, url, body
