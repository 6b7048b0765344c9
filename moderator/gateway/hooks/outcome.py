"""What a hook that waits for a verdict answers: the decision, or what the operator chose for the lack of one. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from moderator.settings import FailurePolicy
from moderator.verdicts import Decision, Verdict

#: Most characters of a reason, and most categories named: answers stay far below any sender's limit.
REASON_CHARACTERS_MAX, CATEGORIES_MAX = 300, 10


class Shown(StrEnum):
    """What should happen to an upload. `hold`: nobody sees it until there is a verdict."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"
    HOLD = "hold"
    REJECT = "reject"


class Failure(StrEnum):
    """Why there is no judgement. `error`: the image could not be judged."""

    ERROR = "error"
    LATE = "late"
    FULL = "full"
    AWAY = "away"


@dataclass(frozen=True)
class UploadOutcome:
    """What should happen to an upload, and why. `failure`: there is no judgement, and the failure policy decided."""

    decision: Shown
    source: str
    id: str
    reason: str = ""
    categories: Sequence[str] = field(default=())
    """Those that led to the decision."""
    message: str | None = None
    """The policy's text for whoever uploaded the image."""
    failure: Failure | None = None

    @classmethod
    def judged(cls, verdict: Verdict, policy: FailurePolicy) -> "UploadOutcome":
        """Return the outcome of a verdict; an image that could not be judged counts as a failure."""
        if verdict.decision is Decision.ERROR:
            why = verdict.error.message if verdict.error else "it could not be judged"
            return cls.without(verdict.source, verdict.event_id, policy, Failure.ERROR, why)
        led = [
            name
            for name, category in verdict.categories.items()
            if category.decision is verdict.decision and verdict.decision is not Decision.ALLOW
        ]
        return cls(
            Shown(verdict.decision.value),
            verdict.source,
            verdict.event_id,
            categories=led[:CATEGORIES_MAX],
            message=verdict.message,
        )

    @classmethod
    def without(
        cls, source: str, id: str, policy: FailurePolicy, failure: Failure, why: str
    ) -> "UploadOutcome":
        """Return the outcome that the failure policy gives, and say why it was asked."""
        return cls(Shown(policy.value), source, id, why[:REASON_CHARACTERS_MAX], failure=failure)

    def to_json(self) -> dict[str, Any]:
        """Return the body of an answer."""
        body: dict[str, Any] = {"decision": self.decision.value, "source": self.source, "id": self.id}
        if self.categories:
            body["categories"] = list(self.categories)
        if self.message is not None:
            body["message"] = self.message
        if self.failure:
            body |= {"failure": self.failure.value, "reason": self.reason}
        return body
