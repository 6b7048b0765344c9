"""What the archive keeps of a delivery, as values of its tables' columns. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

from pydantic_core import from_json

from moderator.errors import RecordRefused
from moderator.queue.outbox import Delivery
from moderator.verdicts import Decision

#: Characters of the longest subject that is kept as it is; a longer one is kept as its hash: indexes bound values.
SUBJECT_LENGTH_MAX = 256
#: Decisions of a category by which a verdict can be found.
FLAGGED = (Decision.REVIEW, Decision.BLOCK)


@dataclass(frozen=True)
class Space:
    """What embeddings depend on besides the image: only embeddings of one space can be compared."""

    model: str
    revision: str
    preprocessing: str
    dimension: int


@dataclass(frozen=True)
class NewEvidence:
    """The evidence of a verdict, exactly as the outbox had it."""

    space: Space
    day: date
    frames: int
    embedding: bytes
    tensor: str
    readings: str


@dataclass(frozen=True)
class NewRecord:
    """A verdict to be archived."""

    identity: tuple[str, str, str]
    """Source, event id and digest, as columns have them."""
    columns: Mapping[str, Any]
    """The other columns of its row."""
    flags: Mapping[str, Decision]
    """The categories that reached review or block."""
    evidence: NewEvidence | None


def column_text(text: str) -> str:
    """Return a text as a column can hold it: PostgreSQL knows no NUL."""
    return text.replace("\0", "\\u0000")


def subject_text(value: Any) -> str | None:
    """Return `metadata.subject` as the archive keeps and finds it; None if it names no subject.

    A whole number counts as its digits.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    text = column_text(str(value))
    return text if len(text) <= SUBJECT_LENGTH_MAX else "sha256:" + sha256(text.encode()).hexdigest()


def read_delivery(delivery: Delivery) -> NewRecord:
    """Return what the archive keeps of a delivery.

    Raises:
        RecordRefused: its verdict is none that an archive could find again.
    """
    try:
        verdict = from_json(delivery.body)
        source, event_id, digest = delivery.identity
        decided_at = datetime.fromisoformat(verdict["created_at"]).astimezone(UTC)
        policy = verdict.get("policy") or {}
        image = verdict.get("image") or {}
        columns = {
            "decided_at": decided_at,
            "decision": Decision(verdict["decision"]).value,
            "policy": None if (name := policy.get("name")) is None else column_text(name),
            "policy_version": _version(policy.get("version")),
            "subject": subject_text((verdict.get("metadata") or {}).get("subject")),
            "image_sha256": image.get("sha256"),
            "body": delivery.body.decode(),
        }
        reached = {
            column_text(category): Decision(answer["decision"])
            for category, answer in (verdict.get("categories") or {}).items()
            if answer["decision"] in FLAGGED
        }
        kept = _evidence(delivery, decided_at.date())
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise RecordRefused(
            f"the verdict of {delivery.key} cannot be archived ({error!r}); another version or another program wrote "
            "it: update this one, then replay the dead letter"
        ) from error
    return NewRecord((column_text(source), column_text(event_id), digest), columns, reached, kept)


def _version(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < 2**31):
        raise ValueError(f"{value!r} is no version")
    return value


def _evidence(delivery: Delivery, day: date) -> NewEvidence | None:
    if delivery.evidence is None or delivery.evidence_fields is None:
        return None
    embedding, tensor, readings = delivery.evidence_fields
    model = delivery.evidence.model
    frames, dimension = delivery.evidence.embeddings.shape
    space = Space(
        column_text(model.id), column_text(model.revision), column_text(model.preprocessing), dimension
    )
    return NewEvidence(space, day, frames, embedding, tensor.decode(), readings.decode())
