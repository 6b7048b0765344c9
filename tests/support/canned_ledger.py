"""A ledger that answers what a test says."""

from collections.abc import Sequence
from typing import Any, Literal

from moderator import Verdict
from moderator.errors import RedisMisused
from moderator.events import Event
from moderator.queue.evidence import Evidence
from moderator.queue.ledger import Answer, Claim, DeadLetterReason


class CannedLedger:
    """The ledger's part in a pipeline: answers as it is told, and keeps what it is given."""

    def __init__(self) -> None:
        self.answer: Claim | Literal["answered", "busy"] | Exception = Claim(attempt=1, waited=0.25)
        self.published: list[tuple[Verdict, DeadLetterReason | None]] = []
        self.retries: list[float] = []
        self.harmed: list[bool] = []
        self.counted: list[bool] = []
        self.held_off: list[bool] = []
        self.given_back: list[str] = []
        self.claims: list[Claim | None] = []
        self.evidence: list[Evidence | None] = []
        self.holds = True
        self.duration: float | RedisMisused | None = 1.5
        self.arguments: dict[str, Any] = {}

    def claim(self, events: Sequence[Event]) -> list[Claim | Literal["answered", "busy"]]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer] * len(events)

    def publish(self, answers: Sequence[Answer], **arguments: Any) -> list[float | RedisMisused | None]:
        self.published += [(answer.verdict, answer.dead) for answer in answers]
        self.claims += [answer.claim for answer in answers]
        self.evidence += [answer.evidence for answer in answers]
        self.arguments = arguments
        return [self.duration] * len(answers)

    def retry(
        self,
        event: Event,
        claim: Claim,
        delay: float,
        *,
        harmed: bool = False,
        counts: bool = True,
        held_off: bool = False,
    ) -> bool:
        self.retries.append(delay)
        self.harmed.append(harmed)
        self.counted.append(counts)
        self.held_off.append(held_off)
        return self.holds

    def give_back(self, event: Event, claim: Claim) -> bool:
        self.given_back.append(event.key)
        return self.holds
