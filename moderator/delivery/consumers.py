"""What a consumer of the outbox is, and how one is found by its name.

A package adds a consumer with an entry point of the group `moderator.consumers`: its name is the consumer's, its value
a class that is called with the settings. It connects to nothing before it delivers: a database that is away must keep
no worker from its start. The setting `MODERATOR_OUTBOX_CONSUMERS` has verdicts kept for it.
"""

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Protocol

from moderator.errors import ModeratorError, SettingsError
from moderator.fetching.breaker import Breakers
from moderator.queue.connection import Redis
from moderator.queue.disabled_webhooks import DisabledWebhooks
from moderator.queue.outbox import Delivery
from moderator.queue.subscriptions import WEBHOOKS, WITH_EMBEDDING, Subscription, Subscriptions
from moderator.settings import Settings

ENTRY_POINT_GROUP = "moderator.consumers"


class Settle(Protocol):
    """How a consumer says what became of deliveries: of each once, now or later, from any thread.

    What it never says it of, as when the process dies, is delivered again when its lease is over.
    """

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """They arrived: forget them, in one round trip."""

    def postpone(self, delivery: Delivery, delay: float, error: ModeratorError | None = None) -> None:
        """Deliver it again after `delay` seconds: it was not tried (`error` is why), so this counts as no try."""

    def fail(self, delivery: Delivery, error: ModeratorError, after: float = 0.0) -> None:
        """It did not arrive, for a reason of its own.

        A transient error has it tried again, later each time and not before `after` seconds. Other errors, and the last
        try, make a dead letter of it.
        """


class DeliveryConsumer(Protocol):
    """Takes verdicts, each at least once: a repeat has the same `Delivery.identity`, and must change nothing."""

    name: str
    """In the settings, in Redis and in the metrics."""
    wants_evidence: bool
    """Whether deliveries come with embedding and signal readings, where there are any, beside the verdict."""
    attempts: int
    """Tries before a delivery becomes a dead letter."""

    def room(self) -> int:
        """Return how many deliveries it takes now. It is called from the thread that calls `deliver`."""

    def deliver(self, deliveries: Sequence[Delivery], settle: Settle) -> None:
        """Deal with deliveries. What it settles only later, from threads of its own, leaves less room meanwhile.

        New ones come together; one that was tried before comes alone, so that it fails no others.

        Raises:
            ConsumerUnavailable: it can take none now, whatever they are. They cost no try, and it rests for a while.
            Exception: all of them that are not settled yet fail, as with `Settle.fail`.
        """

    def close(self) -> None:
        """Finish what it has taken."""


def consumer_names(settings: Settings) -> list[str]:
    """Return the names of all consumers that the outbox is filled for."""
    return [WEBHOOKS, *(entry.consumer for entry in Subscriptions.of(settings).entries)]


def is_installed(name: str) -> bool:
    """Whether a consumer of that name can be made here."""
    return name == WEBHOOKS or bool(entry_points(group=ENTRY_POINT_GROUP, name=name))


def make_consumer(name: str, settings: Settings, client: Redis, webhook_hosts: Breakers) -> DeliveryConsumer:
    """Make a consumer.

    Args:
        name: of the consumer.
        settings: all of them.
        client: connection.
        webhook_hosts: keep from hosts of webhooks that fail all the time.

    Raises:
        SettingsError: there is none of that name, its package cannot be loaded, or nothing is kept for it.
    """
    if name == WEBHOOKS:
        from moderator.delivery.webhook_delivery import WebhookSender

        return WebhookSender(settings, DisabledWebhooks(client), webhook_hosts)
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        try:
            build = point.load()
        except Exception as error:  # a package of somebody else
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
    """Check that the outbox keeps for a consumer what it wants.

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
