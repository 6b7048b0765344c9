"""Which actions may be set, and where copies go. What they do is tested with a store."""

import pytest
from pydantic import ValidationError

from moderator.delivery.object_actions import ObjectAction, quarantine_name, read_actions
from moderator.delivery.object_store import JudgedObject
from moderator.errors import SettingsError
from moderator.fetching.object_keys import ObjectName
from moderator.queue.subscriptions import OBJECT_STORE, Subscriptions
from moderator.settings import Settings
from moderator.verdicts import Decision, Verdict


def settings(actions: str, **more: str) -> Settings:
    return Settings(object_actions=actions, **more)  # type: ignore[arg-type]


def test_nothing_is_done_unless_it_is_set() -> None:
    assert Settings().object_actions == ()
    assert OBJECT_STORE not in [entry.consumer for entry in Subscriptions.of(Settings()).entries]


def test_the_deletion_comes_last() -> None:
    found = read_actions(
        settings("block:delete,block:quarantine,review:tag:dry-run", buckets="a", quarantine="q")
    )
    assert found == {
        "block": [ObjectAction("quarantine", False), ObjectAction("delete", False)],
        "review": [ObjectAction("tag", True)],
    }


@pytest.mark.parametrize(
    "actions",
    [
        "block",
        "block:burn",
        "never:tag",
        "block:tag:dry",
        "block:tag,block:tag",
        "block:tag,block:tag:dry-run",
        "block:quarantine:dry-run,block:delete",
    ],
)
def test_what_is_no_action_is_refused(actions: str) -> None:
    with pytest.raises(ValidationError):
        settings(actions)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(SettingsError, match="MODERATOR_BUCKETS"):
        read_actions(settings("block:tag"))
    with pytest.raises(SettingsError, match="MODERATOR_QUARANTINE"):
        read_actions(settings("block:quarantine", buckets="a"))


@pytest.mark.parametrize(
    ("place", "bucket", "key"),
    [("q", "q", "a/b/c.jpg@1"), ("q/held", "q", "held/a/b/c.jpg@1"), ("q/x/y/", "q", "x/y/a/b/c.jpg@1")],
)
def test_copies_are_named_after_what_was_judged(place: str, bucket: str, key: str) -> None:
    judged = JudgedObject(ObjectName("a", "b/c.jpg"), None, "etag", "1")
    assert quarantine_name(place, judged) == ObjectName(bucket, key)


def test_only_verdicts_that_lead_to_an_action_are_kept() -> None:
    subscriptions = Subscriptions.of(settings("block:tag", outbox_consumers="audit"))

    def kept(decision: Decision, key: str | None) -> list[str]:
        verdict = Verdict(event_id="1", source="s", decision=decision, is_safe=False, image_key=key)
        return [entry.consumer for entry in subscriptions.about(verdict).entries]

    assert kept(Decision.BLOCK, "a/b") == ["audit", OBJECT_STORE]
    assert kept(Decision.BLOCK, None) == kept(Decision.ALLOW, "a/b") == ["audit"]
