"""Deliver verdicts to webhooks, signed according to Standard Webhooks, with retries."""

import logging
from base64 import b64decode
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from threading import Lock

from standardwebhooks import Webhook

from moderator.backoff import delay_for_host
from moderator.delivery.consumers import Settle
from moderator.errors import (
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
from moderator.queue.disabled_webhooks import DisabledWebhooks
from moderator.queue.outbox import Delivery
from moderator.queue.subscriptions import WEBHOOKS
from moderator.settings import Settings

log = logging.getLogger(__name__)

#: Most seconds that a receiver may ask for in `Retry-After`.
RETRY_AFTER_MAX_SECONDS = 3600.0
#: Status that ends all deliveries to a webhook, and those whose `Retry-After` counts.
GONE, COME_LATER = 410, frozenset({429, 503})
#: Most deliveries at once, in total and to one host: a slow host does not block the others.
DELIVERIES, DELIVERIES_TO_A_HOST = 16, 4
#: Seconds until a delivery to a busy host is considered again: half its age, within these bounds.
BUSY_DELAY_MIN_SECONDS, BUSY_DELAY_MAX_SECONDS = 0.5, 30.0


class WebhookSender:
    """Posts verdicts to webhooks: a consumer of the outbox.

    Args:
        settings: secret, attempts and address rules.
        disabled: webhooks that get no deliveries.
        breakers: circuit breakers of hosts that keep failing.

    Raises:
        SettingsError: the secret is no Standard Webhooks secret, or an allowed host is no host name.
    """

    name = WEBHOOKS
    wants_evidence = False

    def __init__(
        self, settings: Settings, disabled: DisabledWebhooks, breakers: Breakers | None = None
    ) -> None:
        self.attempts = settings.webhook_attempts
        self._patience = settings.host_patience
        self._disabled = disabled
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

    def room(self) -> int:
        """Return how many more deliveries may start now."""
        with self._lock:
            return DELIVERIES - self._busy.total()

    def deliver(self, deliveries: Sequence[Delivery], settle: Settle) -> None:
        """Start deliveries; those to a busy host are postponed."""
        disabled = self._disabled.among([delivery.url for delivery in deliveries])
        for delivery in deliveries:
            host = _host(delivery.url)
            if self._take_slot(host):
                self._pool.submit(self._deliver, delivery, host, delivery.url in disabled, settle)
            else:
                delay = min(max(delivery.age / 2, BUSY_DELAY_MIN_SECONDS), BUSY_DELAY_MAX_SECONDS)
                settle.postpone(delivery, delay)

    def close(self) -> None:
        """Finish the started deliveries, and end the threads."""
        self._pool.shutdown(wait=True)
        self._client.close()

    def _deliver(self, delivery: Delivery, host: str, disabled: bool, settle: Settle) -> None:
        try:
            try:
                self._send(delivery, disabled)
            except HostUnavailable as error:
                if delivery.age < self._patience:
                    settle.postpone(delivery, delay_for_host(error, delivery.age), error)
                else:
                    settle.fail(delivery, error)
            except WebhookFailed as error:
                # Not before the time that the receiver asked for, and spread after it.
                settle.fail(delivery, error, error.retry_after)
            except ModeratorError as error:
                settle.fail(delivery, error)
            else:
                settle.done([delivery])
        except Exception as error:  # of Redis, say: the delivery is leased and becomes due again
            log.warning("webhook for %s: %s: %s", delivery.key, type(error).__name__, error)
        finally:
            with self._lock:
                self._busy -= Counter((host,))

    def _take_slot(self, host: str) -> bool:
        """Reserve a delivery to the host; return whether one more may start now."""
        with self._lock:
            free = self._busy[host] < DELIVERIES_TO_A_HOST
            if free:
                self._busy[host] += 1
            return free

    def _send(self, delivery: Delivery, disabled: bool) -> None:
        if not self._signers:
            raise FetchRefused("MODERATOR_WEBHOOK_SECRET is not set: verdicts are not sent unsigned")
        if disabled:
            raise WebhookDisabled(
                "the webhook answered 410 Gone to an earlier delivery and gets no more; if it is back: "
                "`moderator webhooks enable URL`, then replay this"
            )
        # The same id at every attempt, so the receiver recognises a repeat; another for the verdict after a replay.
        message_id = "msg_" + sha256(delivery.key.encode()).hexdigest()[:32]
        now = datetime.now(UTC)
        signatures = [signer.sign(message_id, now, delivery.body.decode()) for signer in self._signers]
        headers = {
            "content-type": "application/json",
            "user-agent": "moderator",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            # One for each secret: receivers accept any, so they may have the old or the new one.
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
            self._disabled.add(delivery.url)
            raise WebhookDisabled(
                "the webhook answered 410 Gone, so it gets no more deliveries; if it is back: "
                "`moderator webhooks enable URL`, then replay this"
            )
        asked = answer.retry_after if answer.status in COME_LATER else 0.0
        raise WebhookFailed(f"the webhook answered {answer.status}", min(asked, RETRY_AFTER_MAX_SECONDS))


def _host(url: str) -> str:
    """Return the host under which deliveries are counted; empty for a URL that is never called."""
    try:
        return parse_url(url).site
    except FetchRefused:
        return ""


def _keys(secrets: str) -> list[bytes]:
    """Return the keys in Standard Webhooks secrets. The library would take the rest of a misspelt one as the key."""
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
