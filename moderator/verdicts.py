"""A verdict: the record published for an event. Pure data, no I/O."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from moderator.view import View


class Decision(StrEnum):
    """What should happen to the upload. `error` means that it could not be judged: never an allow."""

    ALLOW = "allow"
    REVIEW = "review"
    BLOCK = "block"
    ERROR = "error"


class CategorySeverity(StrEnum):
    """How grave it is if a picture shows what a category does not allow, as the policy says."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)


# A verdict for a policy of a hundred categories holds hundreds of these two. They are plain dataclasses, because
# pydantic's models take several times as long to create.
@dataclass(frozen=True, slots=True)
class TopPrompt:
    """A prompt that the image resembles: `similarity` is the cosine, `probability` the rule's value for it."""

    prompt: str
    side: str
    similarity: float
    probability: float


@dataclass(frozen=True, slots=True)
class CategoryVerdict:
    """A category's score in [0, 1] and the decision of its thresholds."""

    score: float
    decision: Decision
    top_prompts: tuple[TopPrompt, ...] = ()
    view: Annotated[View | None, Field(exclude_if=lambda view: view is None)] = None
    """The part of the picture that decided; None for the whole."""
    decided_by: Annotated[str | None, Field(exclude_if=lambda name: name is None)] = None
    """The signal whose second opinion lifted the review; None: the category's own score decided."""


class PolicyFacts(_Record):
    """The policy that decided. `version` is None if no version of that name may decide: the event is then an error."""

    name: str
    version: int | None = None
    digest: str | None = None


class ModelFacts(_Record):
    """The encoder that saw the image; `revision` and `preprocessing` make a verdict replayable."""

    id: str
    revision: str
    preprocessing: str
    device: str
    dtype: str


class ImageFacts(_Record):
    """The image that was judged. Sizes in pixels, as browsers show it.

    `frames` of `frames_total` frames were judged, those that the others resemble. `frames_unseen` frames were not
    reached or resemble none of them: then the decision is `review` at least. `truncated`: the file ends too early or is
    damaged, and what is there was judged. `views` is the number of views that were judged, of all renderings of these
    frames, and `views_left_out` the number beyond the bound.
    """

    sha256: str
    width: int
    height: int
    format: str
    frames: int = 1
    frames_total: int = 1
    frames_unseen: int = 0
    truncated: bool = False
    views: int = Field(1, exclude_if=lambda number: number == 1)
    views_left_out: int = Field(0, exclude_if=lambda number: number == 0)


class ErrorFacts(_Record):
    """Why there is no judgement. `type` names a class in `moderator.errors`."""

    type: str
    message: str


class ShadowVerdict(_Record):
    """Another version's verdict: a score, or the decision `error`, no score and the cause."""

    version: int
    digest: str
    decision: Decision
    unsafe_score: float | None = None
    categories: dict[str, CategoryVerdict] = Field(default_factory=dict)
    error: ErrorFacts | None = None


class Revision(_Record):
    """The earlier verdict about the same event that a verdict revises, and who decided otherwise, and why.

    `digest`: of the earlier verdict, see `verdict_digest`. `decided_at`: its `created_at`.
    """

    digest: str
    decided_at: datetime
    by: Annotated[str | None, Field(exclude_if=lambda value: value is None)] = None
    reason: Annotated[str | None, Field(exclude_if=lambda value: value is None)] = None


class Verdict(_Record):
    """The answer for one event.

    `bulk`: for an image of a bulk event, the id of that event. `image_key`, `image_version`: of an image from a bucket,
    as the event has them. `revises`: the verdict that this later one about the same event takes the place of.
    `severity`, `message`: of the category that decided, where the policy has them and the decision is review or block;
    the message is for whoever uploaded the image.
    """

    event_id: str
    source: str
    decision: Decision
    is_safe: bool
    safe_score: float | None = None
    unsafe_score: float | None = None
    severity: Annotated[CategorySeverity | None, Field(exclude_if=lambda value: value is None)] = None
    message: Annotated[str | None, Field(exclude_if=lambda value: value is None)] = None
    categories: dict[str, CategoryVerdict] = Field(default_factory=dict)
    policy: PolicyFacts | None = None
    model: ModelFacts | None = None
    image: ImageFacts | None = None
    signals: dict[str, Any] = Field(default_factory=dict)
    shadow: tuple[ShadowVerdict, ...] = ()
    error: ErrorFacts | None = None
    timings_ms: dict[str, float] = Field(default_factory=dict)
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    bulk: str | None = None
    image_key: Annotated[str | None, Field(exclude_if=lambda value: value is None)] = None
    image_version: Annotated[str | None, Field(exclude_if=lambda value: value is None)] = None
    revises: Annotated[Revision | None, Field(exclude_if=lambda value: value is None)] = None

    @property
    def top_category(self) -> str | None:
        """The category that decided: the one of the most severe decision, then of the highest score."""
        severity = {Decision.ALLOW: 0, Decision.REVIEW: 1, Decision.BLOCK: 2, Decision.ERROR: 3}
        return max(
            self.categories,
            key=lambda n: (severity[self.categories[n].decision], self.categories[n].score),
            default=None,
        )


def verdict_digest(body: bytes) -> str:
    """Return the digest that distinguishes the verdicts about one event: 12 hex digits of the SHA-256 of the JSON."""
    return sha256(body).hexdigest()[:12]


def revised(
    verdict: Verdict, digest: str, decision: Decision, *, by: str | None = None, reason: str | None = None
) -> Verdict:
    """Return a later verdict about the same event: the same facts with another decision, made now.

    If it allows the image, it has neither severity nor message.

    Args:
        verdict: the verdict to revise.
        digest: its digest.
        decision: the new decision.
        by: who decided.
        reason: why.
    """
    change = {
        "decision": decision,
        "is_safe": decision is Decision.ALLOW,
        "error": None,
        "created_at": datetime.now(UTC),
        "revises": Revision(digest=digest, decided_at=verdict.created_at, by=by, reason=reason),
        **({"severity": None, "message": None} if decision is Decision.ALLOW else {}),
    }
    return verdict.model_copy(update=change)
