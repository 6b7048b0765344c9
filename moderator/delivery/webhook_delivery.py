"""Deliver verdicts to webhooks, signed according to Standard Webhooks, with retries."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Lock

from moderator.backoff import delay_for_host
from moderator.delivery.consumers import Settle
from moderator.delivery.message_format import Message, compose
from moderator.delivery.webhook_post import WebhookPoster
from moderator.errors import (
    FetchRefused,
    HostUnavailable,
    ModeratorError,
    WebhookDisabled,
    WebhookFailed,
    WebhookRedirected,
)
from moderator.fetching.breaker import Breakers
from moderator.fetching.http import PostAnswer
from moderator.fetching.urls import parse_url
from moderator.printable import printable
from moderator.queue.delivery_log import (
    ERROR_CHARACTERS_MAX,
    DeliveryAttempt,
    DeliveryLog,
    shown_target,
    target_id,
)
from moderator.queue.disabled_webhooks import DisabledWebhooks
from moderator.queue.outbox import Delivery
from moderator.queue.subscriptions import WEBHOOKS
from moderator.settings import Settings

log = logging.getLogger(__name__)

#: Most seconds that a receiver may ask for in `Retry-After`.
RETRY_AFTER_MAX_SECONDS = 6 * 3600.0
#: Status that ends all deliveries to a webhook, and those whose `Retry-After` counts.
GONE, COME_LATER = 410, frozenset({429, 503})
#: Most deliveries at once, in total and to one host: a slow host does not block the others.
DELIVERIES, DELIVERIES_TO_A_HOST = 16, 4
#: Seconds until a delivery to a busy host is considered again: half its age, within these bounds.
BUSY_DELAY_MIN_SECONDS, BUSY_DELAY_MAX_SECONDS = 0.5, 30.0


class WebhookSender:
    """Posts verdicts to webhooks: a consumer of the outbox.

    Args:
        settings: secrets, format, attempts and address rules.
        disabled: webhooks that get no deliveries.
        deliveries: log of attempts.
        breakers: circuit breakers of hosts that keep failing.

    Raises:
        SettingsError: the secret is no Standard Webhooks secret, or an allowed host is no host name.
    """

    name = WEBHOOKS
    wants_evidence = False

    def __init__(
        self,
        settings: Settings,
        disabled: DisabledWebhooks,
        deliveries: DeliveryLog,
        breakers: Breakers | None = None,
    ) -> None:
        self.attempts = settings.webhook_attempts
        self._patience = settings.host_patience
        self._format = settings.verdict_format
        self._disabled = disabled
        self._log = deliveries
        self._poster = WebhookPoster(settings, breakers)
        self._pool = ThreadPoolExecutor(DELIVERIES, thread_name_prefix="webhook")
        self._lock = Lock()
        self._busy: Counter[str] = Counter()

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
        self._poster.close()

    def _deliver(self, delivery: Delivery, host: str, disabled: bool, settle: Settle) -> None:
        try:
            # The same id at each attempt, so the receiver recognises a repeat; another for the verdict after a replay.
            message = compose(delivery.key, delivery.body, self._format)
            started, status = time.monotonic(), None
            error: ModeratorError | None = None
            try:
                answer = self._send(delivery, message, disabled)
                status = answer.status
                check_answer(answer)
            except ModeratorError as refused:
                error = refused
            self._settle(delivery, error, settle)
            if not isinstance(error, HostUnavailable):  # it was not asked
                said = None if error is None else printable(f"{type(error).__name__}: {error}")
                self._record(delivery, message, started, status, said and said[:ERROR_CHARACTERS_MAX])
        except Exception as error:  # of Redis, say: the delivery is leased and becomes due again
            log.warning("webhook for %s: %s: %s", delivery.key, type(error).__name__, error)
        finally:
            with self._lock:
                self._busy -= Counter((host,))

    def _settle(self, delivery: Delivery, error: ModeratorError | None, settle: Settle) -> None:
        if error is None:
            settle.done([delivery])
        elif isinstance(error, HostUnavailable) and delivery.age < self._patience:
            settle.postpone(delivery, delay_for_host(error, delivery.age), error)
        else:
            # Not before the time that the receiver asked for, and spread after it.
            settle.fail(delivery, error, error.retry_after if isinstance(error, WebhookFailed) else 0.0)

    def _take_slot(self, host: str) -> bool:
        """Reserve a delivery to the host; return whether one more may start now."""
        with self._lock:
            free = self._busy[host] < DELIVERIES_TO_A_HOST
            if free:
                self._busy[host] += 1
            return free

    def _send(self, delivery: Delivery, message: Message, disabled: bool) -> PostAnswer:
        if disabled:
            raise WebhookDisabled(
                "the webhook answered 410 Gone to an earlier delivery and gets no more; if it is back: "
                "`moderator webhooks enable URL`, then replay this"
            )
        answer = self._poster.post(delivery.url, message)
        if answer.status == GONE:
            self._disabled.add(delivery.url)
        return answer

    def _record(
        self, delivery: Delivery, message: Message, started: float, status: int | None, error: str | None
    ) -> None:
        """Log an attempt."""
        event, _, _ = delivery.key.rpartition("#")
        self._log.add(
            DeliveryAttempt(
                at=datetime.now(UTC),
                event=event,
                message=message.id,
                type=message.type,
                target=shown_target(delivery.url),
                target_id=target_id(delivery.url),
                attempt=delivery.attempt,
                milliseconds=round(1000 * (time.monotonic() - started), 1),
                status=status,
                error=error,
            )
        )


def check_answer(answer: PostAnswer) -> None:
    """Check what a webhook answered.

    Raises:
        WebhookRedirected, WebhookDisabled, WebhookFailed: it did not accept the message.
    """
    if 200 <= answer.status < 300:
        return
    if 300 <= answer.status < 400:
        raise WebhookRedirected(
            f"the webhook answered {answer.status}; redirects are not followed: name the address that it leads to"
        )
    if answer.status == GONE:
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
