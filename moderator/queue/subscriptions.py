"""The consumers of the outbox and the names of their lists. Pure."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from moderator.queue import keys
from moderator.queue.evidence import Evidence
from moderator.queue.scripts import Call
from moderator.verdicts import Verdict

if TYPE_CHECKING:  # loading all settings takes longer than all else that a client loads of ours
    from moderator.settings import Settings

#: The consumer that every service has. Each event names the URL of its delivery.
WEBHOOKS = "webhooks"
#: Suffix of a consumer's name in the settings: it also wants the evidence of verdicts.
WITH_EMBEDDING = ":embedding"
#: The consumer that writes the archive. It is subscribed wherever the archive is set.
ARCHIVE = "archive"
#: The consumer that acts on objects in buckets. It is subscribed wherever actions are set.
OBJECT_STORE = "object-store"


@dataclass(frozen=True)
class Subscription:
    """A consumer for which verdicts are kept, with or without their evidence."""

    consumer: str
    evidence: bool = False
    objects_decided: frozenset[str] = frozenset()
    """Only verdicts with one of these decisions about objects in a bucket are kept; empty: all."""

    def wants(self, verdict: Verdict) -> bool:
        """Return whether a verdict is kept for it."""
        about_object = verdict.image_key is not None and verdict.decision in self.objects_decided
        return about_object or not self.objects_decided


@dataclass(frozen=True)
class Subscriptions:
    """The consumers besides webhooks for which verdicts are kept, and the limit for each."""

    entries: tuple[Subscription, ...] = ()
    limit: int = 0

    @classmethod
    def of(cls, settings: "Settings") -> "Subscriptions":
        """Return the subscriptions of the settings."""
        entries = {
            (consumer := name.removesuffix(WITH_EMBEDDING)): Subscription(consumer, consumer != name)
            for name in settings.outbox_consumers
        }
        if settings.archive_url is not None:
            entries[ARCHIVE] = Subscription(ARCHIVE, evidence=True)
        if settings.object_actions:
            decisions = frozenset(entry.partition(":")[0] for entry in settings.object_actions)
            entries[OBJECT_STORE] = Subscription(OBJECT_STORE, objects_decided=decisions)
        return cls(tuple(entries.values()), settings.outbox_limit)

    def about(self, verdict: Verdict) -> "Subscriptions":
        """Return those of the consumers that want a verdict."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry.wants(verdict)))

    @property
    def evidence(self) -> bool:
        """Whether any consumer wants the evidence."""
        return any(entry.evidence for entry in self.entries)

    def call(self, delivery: str, evidence: Evidence | None) -> Call:
        """Return the keys and arguments of `publish.lua` for these consumers, which follow its own."""
        if not self.entries:
            return [], []
        script_keys, wanted = [keys.OUTBOX_MISSED], []
        for entry in self.entries:
            due, prefix = outbox_names(entry.consumer)
            script_keys += [due, prefix + delivery]
            wanted.append("1" if entry.evidence else "")
        fields: tuple[Any, ...] = ("", "", "")
        if evidence is not None and self.evidence:
            fields = evidence.to_fields()
        return script_keys, [self.limit, *fields, *wanted]


#: Only webhooks.
NO_SUBSCRIPTIONS = Subscriptions()


def outbox_names(consumer: str) -> tuple[str, str]:
    """Return the Redis key of a consumer's list and the prefix of its records. Webhooks keep their older names."""
    if consumer == WEBHOOKS:
        return keys.WEBHOOKS, keys.WEBHOOK_PREFIX
    return keys.OUTBOX_PREFIX + consumer, f"{keys.OUTBOX_PREFIX}{consumer}:"
