"""A service in memory that judges whenever a backfill waits, and rows for its state."""

from threading import Event as Flag
from typing import Any

from moderator.backfill.result_rows import Row
from moderator.events import Event
from moderator.queue.bounds import QueueBounds
from moderator.queue.ledger import Acceptance, Answer, Claim, Ledger
from moderator.testing.memory_queue import MemoryServer
from moderator.verdicts import CategoryVerdict, Decision, Verdict


class MemoryService(Flag):
    """Stands for the flag with which a backfill is stopped: each wait lets the service judge what it holds.

    Args:
        limit: bound of its queue.
    """

    def __init__(self, limit: int = 0) -> None:
        super().__init__()
        self.now = 1000.0
        self.server = MemoryServer(lambda: self.now)
        self.ledger = _WatchedLedger(self, limit)
        self.held: list[Event] = []
        self.accepted: list[str] = []
        """Ids, in order; one that was forgotten and taken again is there twice."""
        self.most_held = 0
        self.waits = 0
        self.judges = True
        self.forgets = 0
        """How many times its verdicts expire as soon as it has judged."""

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        self.now += timeout or 0.0
        if self.judges and not self.server.away:
            self.judge()
        return self.is_set()

    def judge(self) -> None:
        events, self.held = self.held, []
        for event in events:
            (claim,) = self.ledger.claim([event])
            assert isinstance(claim, Claim)
            self.ledger.publish([Answer(event, verdict(event), claim=claim)], ttl=60.0, stream_length=1000)
        if events and self.forgets:
            self.forgets -= 1
            self.now += 61.0


class _WatchedLedger(Ledger):
    def __init__(self, service: MemoryService, limit: int) -> None:
        super().__init__(service.server.executor, lease=30.0, bounds=QueueBounds(limit))
        self._service = service

    def enter(self, body: dict[str, Any], events: list[Event]) -> list[tuple[Event, Acceptance]]:
        answers = super().enter(body, events)
        new = [event for event, acceptance in answers if acceptance is Acceptance.ACCEPTED]
        self._service.held += new
        self._service.accepted += [event.id for event in new]
        self._service.most_held = max(self._service.most_held, len(self._service.held))
        return answers


def verdict(event: Event) -> Verdict:
    return Verdict(
        event_id=event.id,
        source=event.source,
        decision=Decision.ALLOW,
        is_safe=True,
        unsafe_score=0.25,
        safe_score=0.75,
        categories={"weapons": CategoryVerdict(0.25, Decision.ALLOW)},
        bulk=event.bulk,
    )


def a_row(name: str, error: str | None = None) -> Row:
    """A row as the engines give it; in error if a type is given."""
    return {
        "id": name,
        "source": "backfill",
        "path": name,
        "decision": "error" if error else "allow",
        "is_safe": error is None,
        "scores": {} if error else {"weapons": 0.25},
        "error_type": error,
        "error": error and "broken",
        "judged_at": "2026-01-01T00:00:00+00:00",
    }
