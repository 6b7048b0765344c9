"""The interface of outbox consumers, and their lookup by name.

A package adds a consumer with an entry point of the group `moderator.consumers`: its name is the consumer's, its value
a class that is called with the settings. The consumer connects to nothing before it delivers: an unavailable database
must not block a worker's startup. `MODERATOR_OUTBOX_CONSUMERS` names the consumers for which verdicts are kept.
"""

from collections.abc import Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Protocol

from moderator.errors import ModeratorError, SettingsError
from moderator.fetching.breaker import Breakers
from moderator.queue.connection import Redis
from moderator.queue.delivery_log import DeliveryLog
from moderator.queue.disabled_webhooks import DisabledWebhooks
from moderator.queue.outbox import Delivery
from moderator.queue.subscriptions import (
    ARCHIVE,
    OBJECT_STORE,
    WEBHOOKS,
    WITH_EMBEDDING,
    Subscription,
    Subscriptions,
)
from moderator.settings import Settings

ENTRY_POINT_GROUP = "moderator.consumers"


class Settle(Protocol):
    """Receives the outcomes of deliveries from a consumer: one for each, now or later, from any thread.

    A delivery without an outcome, as when the process dies, is repeated when its lease is over.
    """

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """Forget deliveries that arrived, in one round trip."""

    def postpone(self, delivery: Delivery, delay: float, error: ModeratorError | None = None) -> None:
        """Deliver again after `delay` seconds: it was not attempted (`error` is why), so no attempt is used up."""

    def fail(self, delivery: Delivery, error: ModeratorError, after: float = 0.0) -> None:
        """Report a delivery that failed for a reason specific to it.

        After a transient error it is retried, later each time and not before `after` seconds. Other errors, and the
        last attempt, make it a dead letter.
        """


class DeliveryConsumer(Protocol):
    """Takes verdicts, each at least once: a repeat has the same `Delivery.identity` and must change nothing."""

    name: str
    """Name in the settings, in Redis and in the metrics."""
    wants_evidence: bool
    """Whether deliveries include embedding and signal readings, if any, beside the verdict."""
    attempts: int
    """Attempts before a delivery becomes a dead letter."""
    # It may have `collectors`, a sequence of metrics of its own.

    def room(self) -> int:
        """Return how many deliveries it can take now. Called from the thread that calls `deliver`."""

    def deliver(self, deliveries: Sequence[Delivery], settle: Settle) -> None:
        """Make deliveries. Those that it settles later, from its own threads, reduce its room meanwhile.

        New ones come together; a retried one comes alone, so that it fails no others.

        Raises:
            ConsumerUnavailable: it can take no delivery at all now. No attempts are used up, and it rests for a while.
            Exception: all deliveries not settled yet fail, as with `Settle.fail`.
        """

    def close(self) -> None:
        """Finish the deliveries that it has taken."""


def consumer_names(settings: Settings) -> list[str]:
    """Return the names of all consumers that the outbox is filled for."""
    return [WEBHOOKS, *(entry.consumer for entry in Subscriptions.of(settings).entries)]


def is_installed(name: str, settings: Settings) -> bool:
    """Return whether a consumer of that name is installed here."""
    if name == ARCHIVE and settings.archive_url is not None:
        return find_spec("sqlalchemy") is not None
    if name == OBJECT_STORE and settings.object_actions:
        return find_spec("boto3") is not None
    return name == WEBHOOKS or bool(entry_points(group=ENTRY_POINT_GROUP, name=name))


def make_consumer(name: str, settings: Settings, client: Redis, webhook_hosts: Breakers) -> DeliveryConsumer:
    """Make a consumer.

    Args:
        name: of the consumer.
        settings: all of them.
        client: connection.
        webhook_hosts: circuit breakers of webhook hosts that keep failing.

        Raises:
            SettingsError: no consumer has that name, its package cannot be loaded, or nothing is kept for it.
    """
    if name == WEBHOOKS:
        from moderator.delivery.webhook_delivery import WebhookSender

        deliveries = DeliveryLog(client, settings.webhook_log)
        return WebhookSender(settings, DisabledWebhooks(client), deliveries, webhook_hosts)
    if name == ARCHIVE and settings.archive_url is not None:
        from moderator.delivery.archive_writer import ArchiveWriter

        return ArchiveWriter(settings)
    if name == OBJECT_STORE and settings.object_actions:
        from moderator.delivery.object_actions import ObjectActions

        return ObjectActions(settings, client)
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        try:
            build = point.load()
        except Exception as error:  # a third-party package
            raise SettingsError(
                f"the package of the consumer '{name}' cannot be loaded ({error}); install it again"
            ) from error
        consumer: DeliveryConsumer = build(settings)
        check_subscription(consumer, settings)
        return consumer
    raise SettingsError(
        f"no consumer '{name}' is installed; install its package, or run `moderator deliver` where it is"
    )


def check_subscription(consumer: DeliveryConsumer, settings: Settings) -> None:
    """Check that the outbox keeps what a consumer wants.

    Raises:
        SettingsError: it does not.
    """
    wanted = Subscription(consumer.name, consumer.wants_evidence)
    if wanted not in Subscriptions.of(settings).entries:
        entry = consumer.name + (WITH_EMBEDDING if consumer.wants_evidence else "")
        raise SettingsError(
            f"nothing is kept for the consumer '{consumer.name}', or not what it wants: name '{entry}' in "
            "MODERATOR_OUTBOX_CONSUMERS, for the workers as well"
        )
