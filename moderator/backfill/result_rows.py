"""From verdicts to the rows of a backfill's result, the same for every engine. Pure."""

from datetime import UTC, datetime
from typing import Any

from moderator.backfill.backfill_items import BACKFILL_SOURCE
from moderator.errors import ModeratorError
from moderator.verdicts import Decision, Verdict

#: One row: JSON values by column. `result_parts` has the types of the columns.
Row = dict[str, Any]


def result_row(name: str, verdict: Verdict) -> Row:
    """Return the row of a judged image."""
    policy, model, image, error = verdict.policy, verdict.model, verdict.image, verdict.error
    return {
        "id": verdict.event_id,
        "source": verdict.source,
        "path": text_of(name),
        "decision": verdict.decision.value,
        "is_safe": verdict.is_safe,
        "unsafe_score": verdict.unsafe_score,
        "safe_score": verdict.safe_score,
        "category": verdict.top_category,
        "scores": {name: category.score for name, category in verdict.categories.items()},
        "policy": policy and policy.name,
        "policy_version": policy and policy.version,
        "policy_digest": policy and policy.digest,
        "model": model and model.id,
        "model_revision": model and model.revision,
        "sha256": image and image.sha256,
        "width": image and image.width,
        "height": image and image.height,
        "format": image and image.format,
        "error_type": error and error.type,
        "error": error and error.message,
        "judged_at": verdict.created_at.isoformat(),
    }


def failed_row(name: str, error: ModeratorError, event_id: str | None = None) -> Row:
    """Return the row of an image without a verdict. `event_id`: None if it was not submitted."""
    return {
        "id": event_id,
        "source": BACKFILL_SOURCE,
        "path": text_of(name),
        "decision": Decision.ERROR.value,
        "is_safe": False,
        "scores": {},
        "error_type": type(error).__name__,
        "error": str(error),
        "judged_at": datetime.now(UTC).isoformat(),
    }


def text_of(name: str) -> str:
    """Return a name in a form that Parquet and JSON can carry: file names need not be UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return ascii(name)[1:-1]
    return name
