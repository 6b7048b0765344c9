"""Delivers verdicts to webhooks, signed as Standard Webhooks asks, and tries again what fails."""

import logging
import time
from base64 import b64decode
from datetime import UTC, datetime
from hashlib import sha256

from standardwebhooks import Webhook

from moderator.errors import FetchRefused, ModeratorError, SettingsError, WebhookFailed
from moderator.images.http import GuardedClient
from moderator.images.urls import AllowedHosts
from moderator.metrics import Metrics
from moderator.queue.dead_letters import DeadLetters
from moderator.queue.webhooks import Delivery, WebhookOutbox
from moderator.settings import Settings

log = logging.getLogger(__name__)

#: Longest time between two tries, in seconds.
MAX_DELAY = 3600.0
#: Seconds of deliveries in one go, before the thread looks whether it should stop.
BURST = 1.0


class WebhookSender:
    """Takes deliveries from the outbox and makes them.

    Args:
        settings: secret, tries, and the address rules.
        outbox: what is to be delivered.
        dead_letters: where deliveries go that fail for good.
        metrics: counts failures.

    Raises:
        SettingsError: the secret is no Standard Webhooks secret, or an allowed host is no host name.
    """

    def __init__(
        self, settings: Settings, outbox: WebhookOutbox, dead_letters: DeadLetters, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._client = GuardedClient(
            settings.fetch_networks,
            settings.fetch_timeout,
            hosts=AllowedHosts.from_setting(settings.webhook_hosts, "MODERATOR_WEBHOOK_HOSTS"),
        )
        self._signer: Webhook | None = None
        if settings.webhook_secret is not None:
            self._signer = Webhook(_key(settings.webhook_secret.get_secret_value()))

    def send_due(self) -> None:
        """Make the deliveries that are due."""
        until = time.monotonic() + BURST
        while time.monotonic() < until:
            delivery = self._outbox.take()
            if delivery is None:
                return
            try:
                self._send(delivery)
            except ModeratorError as error:
                self._metrics.count_failure(error)
                self._fail(delivery, error)
            else:
                self._outbox.done(delivery)

    def _send(self, delivery: Delivery) -> None:
        if self._signer is None:
            raise FetchRefused("MODERATOR_WEBHOOK_SECRET is not set: verdicts are not sent unsigned")
        # The same id at every try, so the receiver can tell a repeat; another for the verdict after a replay.
        message_id = "msg_" + sha256(delivery.key.encode()).hexdigest()[:32]
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "user-agent": "moderator",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(message_id, now, delivery.body.decode()),
        }
        status = self._client.post(delivery.url, delivery.body, headers)
        if not 200 <= status < 300:
            raise WebhookFailed(f"the webhook answered {status}")

    def _fail(self, delivery: Delivery, error: ModeratorError) -> None:
        name = type(error).__name__
        if error.transient and delivery.attempt < self._settings.webhook_attempts:
            delay = min(self._settings.retry_delay * 2.0 ** (delivery.attempt - 1), MAX_DELAY)
            log.info("webhook for %s: %s; try %d in %g s", delivery.key, name, delivery.attempt + 1, delay)
            self._outbox.later(delivery, delay)
        else:
            log.warning(
                "webhook for %s: dead letter after %d tries: %s", delivery.key, delivery.attempt, error
            )
            self._dead_letters.bury_delivery(delivery, error)
            self._outbox.done(delivery)


def _key(secret: str) -> bytes:
    """The key in a Standard Webhooks secret. The library would take the rest of a misspelt one for the key."""
    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError as error:
        raise SettingsError("MODERATOR_WEBHOOK_SECRET is not `whsec_` and base64") from error
    if not key:
        raise SettingsError("MODERATOR_WEBHOOK_SECRET is empty; give `whsec_` and 24 to 64 bytes in base64")
    return key
