"""Which consumers the outbox is filled for, and how their lists are named. Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moderator.queue import keys
from moderator.queue.evidence import Evidence
from moderator.queue.scripts import Call

if TYPE_CHECKING:  # loading all settings takes longer than all else that a client loads of ours
    from moderator.settings import Settings

#: The consumer that every service has. Events name where its deliveries go.
WEBHOOKS = "webhooks"
#: After the name of a consumer in the settings: it also wants what the verdict was made from.
WITH_EMBEDDING = ":embedding"


@dataclass(frozen=True)
class Subscription:
    """A consumer for which verdicts are kept, and whether with the evidence."""

    consumer: str
    evidence: bool = False


@dataclass(frozen=True)
class Subscriptions:
    """The consumers besides webhooks for which verdicts are kept, and how many at most for each."""

    entries: tuple[Subscription, ...] = ()
    limit: int = 0

    @classmethod
    def of(cls, settings: "Settings") -> "Subscriptions":
        """Return those of the settings."""
        entries = (
            Subscription(name.removesuffix(WITH_EMBEDDING), name.endswith(WITH_EMBEDDING))
            for name in settings.outbox_consumers
        )
        return cls(tuple(entries), settings.outbox_limit)

    @property
    def evidence(self) -> bool:
        """Whether any of them wants the evidence."""
        return any(entry.evidence for entry in self.entries)

    def call(self, delivery: str, evidence: Evidence | None) -> Call:
        """Return what `publish.lua` is given for them, after its own keys and arguments."""
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


#: Nothing is kept but webhooks.
NO_SUBSCRIPTIONS = Subscriptions()


def outbox_names(consumer: str) -> tuple[str, str]:
    """Return the names in Redis of a consumer's list and, as a prefix, of its records. Webhooks had theirs before."""
    if consumer == WEBHOOKS:
        return keys.WEBHOOKS, keys.WEBHOOK_PREFIX
    return keys.OUTBOX_PREFIX + consumer, f"{keys.OUTBOX_PREFIX}{consumer}:"
