"""What became of the objects that a store reported. Pure."""

from collections import Counter
from typing import Any, Literal

from moderator.errors import EventInvalid
from moderator.gateway.hooks.stored_object import Notice, StoredObject
from moderator.printable import printable
from moderator.queue.records import Acceptance

Became = Literal["accepted", "known", "superseded", "ignored", "refused"]
BECAME: tuple[Became, ...] = ("accepted", "known", "superseded", "ignored", "refused")

#: Most refusals that an answer explains, and most characters of each.
REFUSALS_MAX, REFUSAL_CHARACTERS_MAX = 10, 300


class Tally:
    """Counts the objects of a notice by what became of them, and keeps why some were refused."""

    def __init__(self, notice: Notice) -> None:
        self.counts: Counter[Became] = Counter()
        self.counts["ignored"] = notice.ignored
        self.refusals: list[str] = []
        for why in notice.refused:
            self.refuse(why)

    def choose(self, stored: StoredObject, options: dict[str, Any], *, latest: bool) -> dict[str, Any] | None:
        """Return the event for an object, or None if a later write has taken its place.

        A version is judged even then, for it is still there; its event says that it is superseded.
        """
        if not latest and stored.version is None:
            self.counts["superseded"] += 1
            return None
        return stored.to_event(options, superseded=not latest)

    def accept(self, acceptance: Acceptance) -> None:
        """Count an event that was accepted, or was known already."""
        self.counts["accepted" if acceptance in (Acceptance.ACCEPTED, Acceptance.SPOOLED) else "known"] += 1

    def refuse(self, why: EventInvalid | str) -> None:
        """Count an object that no worker could judge."""
        self.counts["refused"] += 1
        if len(self.refusals) < REFUSALS_MAX:
            self.refusals.append(printable(str(why)[:REFUSAL_CHARACTERS_MAX]))

    def to_json(self) -> dict[str, int]:
        """Return the body of an answer."""
        return {became: self.counts[became] for became in BECAME}
