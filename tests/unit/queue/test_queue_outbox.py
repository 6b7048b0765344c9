import pytest

from moderator.queue.outbox import Delivery
from moderator.queue.subscriptions import NO_SUBSCRIPTIONS, Subscription, Subscriptions, outbox_names
from moderator.settings import Settings


def test_subscriptions_are_those_of_the_settings() -> None:
    settings = Settings(outbox_consumers="archive:embedding, audit", outbox_limit=7)  # type: ignore[arg-type]
    found = Subscriptions.of(settings)
    assert found == Subscriptions((Subscription("archive", True), Subscription("audit")), 7)
    assert found.evidence
    assert not Subscriptions.of(Settings()).evidence


def test_without_consumers_a_verdict_costs_what_it_did() -> None:
    assert NO_SUBSCRIPTIONS.call("moderator:a#1", None) == ([], [])


def test_each_consumer_has_a_list_and_records_of_its_own() -> None:
    keys, args = Subscriptions((Subscription("archive", True), Subscription("audit")), 7).call("a#1", None)
    assert keys == [
        "moderation:outbox-missed",
        "moderation:outbox:archive",
        "moderation:outbox:archive:a#1",
        "moderation:outbox:audit",
        "moderation:outbox:audit:a#1",
    ]
    assert args == [7, "", "", "", "1", ""]
    assert outbox_names("webhooks") == ("moderation:webhooks", "moderation:webhook:"), (
        "as in earlier versions"
    )


@pytest.mark.parametrize(
    ("key", "identity"),
    [
        ("shop:7#0123456789ab", ("shop", "7", "0123456789ab")),
        ("shop:up%2F3#0123456789ab", ("shop", "up/3", "0123456789ab")),
    ],
)
def test_a_repeat_is_known_by_source_id_and_verdict(key: str, identity: tuple[str, str, str]) -> None:
    assert Delivery(key, "", b"{}", 1, 0.0).identity == identity
