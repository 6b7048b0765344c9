"""Delivers verdicts to webhooks, signed as Standard Webhooks asks, and tries again what fails."""

import logging
import time
from base64 import b64decode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from threading import Lock

from standardwebhooks import Webhook

from moderator.backoff import exponential
from moderator.errors import (
    DeliveryUnreadable,
    FetchRefused,
    HostUnavailable,
    ModeratorError,
    SettingsError,
    WebhookDisabled,
    WebhookFailed,
    WebhookRedirected,
)
from moderator.fetching.breaker import Breakers
from moderator.fetching.http import GuardedClient
from moderator.fetching.urls import AllowedHosts, parse_url
from moderator.metrics import Metrics
from moderator.queue.dead_letters import DeadLetters
from moderator.queue.webhooks import Delivery, WebhookOutbox
from moderator.settings import Settings
from workers.retries import delay_for_host

log = logging.getLogger(__name__)

#: Longest time between two tries, in seconds, and the longest that a receiver may ask for.
MAX_DELAY = 3600.0
#: Answers that end all deliveries to a webhook, and those whose `Retry-After` counts.
GONE, COME_LATER = 410, frozenset({429, 503})
#: Seconds of deliveries in one go, before the thread looks whether it should stop.
BURST = 1.0
#: Deliveries made at once, and to one host: a slow one does not hold up the others.
DELIVERIES, DELIVERIES_TO_A_HOST = 16, 4
#: Seconds until a delivery to a host that is busy with others is looked at again: half its age, within these.
SOONEST, LATEST = 0.5, 30.0


class WebhookSender:
    """Takes deliveries from the outbox and makes them.

    Args:
        settings: secret, tries, and the address rules.
        outbox: what is to be delivered.
        dead_letters: where deliveries go that fail for good.
        metrics: counts failures.
        breakers: keep from hosts that fail all the time.

    Raises:
        SettingsError: the secret is no Standard Webhooks secret, or an allowed host is no host name.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: WebhookOutbox,
        dead_letters: DeadLetters,
        metrics: Metrics,
        breakers: Breakers | None = None,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._client = GuardedClient(
            settings.fetch_networks,
            settings.fetch_timeout,
            hosts=AllowedHosts.from_setting(settings.webhook_hosts, "MODERATOR_WEBHOOK_HOSTS"),
            breakers=breakers,
        )
        self._pool = ThreadPoolExecutor(DELIVERIES, thread_name_prefix="webhook")
        self._lock = Lock()
        self._busy: Counter[str] = Counter()
        secrets = settings.webhook_secret.get_secret_value() if settings.webhook_secret is not None else None
        self._signers = [] if secrets is None else [Webhook(key) for key in _keys(secrets)]

    def send_due(self) -> None:
        """Start the deliveries that are due, as many as may be made at once."""
        until = time.monotonic() + BURST
        while time.monotonic() < until and self._has_slot():
            try:
                delivery = self._outbox.take()
            except DeliveryUnreadable as error:
                self._bury_unreadable(error)
                continue
            if delivery is None:
                return
            host = _host(delivery.url)
            if self._take_slot(host):
                self._pool.submit(self._deliver, delivery, host)
            else:
                self._outbox.later(delivery, min(max(delivery.age / 2, SOONEST), LATEST), counts=False)

    def _bury_unreadable(self, error: DeliveryUnreadable) -> None:
        log.warning("%s", error)
        self._metrics.count_failure(error)
        key, url = (part.decode("utf-8", "replace") for part in (error.key, error.url))
        self._dead_letters.bury_delivery(Delivery(key, url, error.body, 0, 0.0), error)
        self._outbox.forget(error.key)

    def close(self) -> None:
        """Finish the deliveries in hand, and end the threads."""
        self._pool.shutdown(wait=True)
        self._client.close()

    def _deliver(self, delivery: Delivery, host: str) -> None:
        try:
            try:
                self._send(delivery)
            except ModeratorError as error:
                self._metrics.count_failure(error)
                self._fail(delivery, error)
            else:
                self._outbox.done(delivery)
        except Exception as error:  # Redis, say: the delivery is leased and becomes due again
            log.warning("webhook for %s: %s: %s", delivery.key, type(error).__name__, error)
        finally:
            with self._lock:
                self._busy -= Counter((host,))

    def _take_slot(self, host: str) -> bool:
        """Whether one more delivery to the host may be made now; then it counts as being made."""
        with self._lock:
            free = self._busy[host] < DELIVERIES_TO_A_HOST
            if free:
                self._busy[host] += 1
            return free

    def _has_slot(self) -> bool:
        with self._lock:
            return self._busy.total() < DELIVERIES

    def _send(self, delivery: Delivery) -> None:
        if not self._signers:
            raise FetchRefused("MODERATOR_WEBHOOK_SECRET is not set: verdicts are not sent unsigned")
        if delivery.disabled:
            raise WebhookDisabled(
                "the webhook answered 410 Gone to an earlier delivery and gets no more; if it is back: "
                "`moderator webhooks enable URL`, then replay this"
            )
        # The same id at every try, so the receiver can tell a repeat; another for the verdict after a replay.
        message_id = "msg_" + sha256(delivery.key.encode()).hexdigest()[:32]
        now = datetime.now(UTC)
        signatures = [signer.sign(message_id, now, delivery.body.decode()) for signer in self._signers]
        headers = {
            "content-type": "application/json",
            "user-agent": "moderator",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            # One for each secret: receivers accept any, so they may still have the old one, or the new one already.
            "webhook-signature": " ".join(signatures),
        }
        answer = self._client.post(delivery.url, delivery.body, headers)
        if 200 <= answer.status < 300:
            return
        if 300 <= answer.status < 400:
            raise WebhookRedirected(
                f"the webhook answered {answer.status}; redirects are not followed: name the address that it leads to"
            )
        if answer.status == GONE:
            self._outbox.disable(delivery.url)
            raise WebhookDisabled(
                "the webhook answered 410 Gone, so it gets no more deliveries; if it is back: "
                "`moderator webhooks enable URL`, then replay this"
            )
        asked = answer.retry_after if answer.status in COME_LATER else 0.0
        raise WebhookFailed(f"the webhook answered {answer.status}", min(asked, MAX_DELAY))

    def _fail(self, delivery: Delivery, error: ModeratorError) -> None:
        name = type(error).__name__
        if isinstance(error, HostUnavailable) and delivery.age < self._settings.host_patience:
            self._outbox.later(delivery, delay_for_host(error, delivery.age), counts=False)
            return
        if error.transient and delivery.attempt < self._settings.webhook_attempts:
            delay = exponential(delivery.attempt, self._settings.retry_delay, MAX_DELAY)
            if isinstance(error, WebhookFailed):
                # Not before what the receiver asked for, and spread after it.
                delay += error.retry_after
            log.info("webhook for %s: %s; try %d in %.1f s", delivery.key, name, delivery.attempt + 1, delay)
            self._outbox.later(delivery, delay)
        else:
            log.warning(
                "webhook for %s: dead letter after %d tries: %s", delivery.key, delivery.attempt, error
            )
            self._dead_letters.bury_delivery(delivery, error)
            self._outbox.done(delivery)


def _host(url: str) -> str:
    """What the deliveries at once are counted under; no host for what is no URL that we call."""
    try:
        return parse_url(url).site
    except FetchRefused:
        return ""


def _keys(secrets: str) -> list[bytes]:
    """The keys in Standard Webhooks secrets. The library would take the rest of a misspelt one for the key."""
    keys = []
    for number, secret in enumerate(secrets.split(), 1):
        try:
            key = b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError as error:
            raise SettingsError(
                f"MODERATOR_WEBHOOK_SECRET: secret {number} is not `whsec_` and base64"
            ) from error
        if not key:
            raise SettingsError(
                f"MODERATOR_WEBHOOK_SECRET: secret {number} is empty; give `whsec_` and 24 to 64 bytes in base64"
            )
        keys.append(key)
    if not keys:
        raise SettingsError("MODERATOR_WEBHOOK_SECRET is empty; give `whsec_` and 24 to 64 bytes in base64")
    return keys
