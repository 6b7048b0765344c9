"""What goes wrong when verdicts are delivered to webhooks and other consumers of the outbox."""

from moderator.errors.moderator_error import ModeratorError


class WebhookFailed(ModeratorError):
    """A webhook did not accept a verdict; `retry_after` are the seconds for which it wants to be left alone."""

    transient = True
    stage = "webhook"

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WebhookRedirected(ModeratorError):
    """A webhook answered with a redirect, which is not followed: the body would go where nobody said."""

    stage = "webhook"


class WebhookDisabled(ModeratorError):
    """A webhook said that it is gone for good, so its address gets no more deliveries."""

    stage = "webhook"


class ConsumerUnavailable(ModeratorError):
    """A consumer of the outbox can take no verdict now, whichever it is."""

    transient = True
    stage = "delivery"


class DeliveryUnreadable(ModeratorError):
    """What is kept of a delivery cannot be read; `key`, `url` and `body` are what there is of it."""

    stage = "webhook"

    def __init__(self, key: bytes, url: bytes = b"", body: bytes = b"") -> None:
        super().__init__(
            f"the record of the delivery {key.decode('utf-8', 'replace')} cannot be read: another version or another "
            "program wrote it; the verdict itself is in the stream"
        )
        self.key, self.url, self.body = key, url, body
