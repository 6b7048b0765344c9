"""How many images people would look at. Pure."""

from dataclasses import dataclass

from moderator.tuning.evaluation import DecisionCounts, Evaluation
from moderator.tuning.evaluation_metrics import Estimate, share


@dataclass(frozen=True)
class ReviewLoad:
    """Shares of images that go to review or are blocked, and images per day.

    A labelled set mostly shows more of what is looked for than uploads do. Hence the shares of the safe images alone,
    too: where nearly all uploads are safe, these are close to what a day is like.
    """

    review: Estimate
    """Of all images of the set."""
    block: Estimate
    safe_review: Estimate
    """Of the safe images of the set."""
    safe_block: Estimate
    uploads_per_day: int | None = None
    review_per_day: Estimate | None = None
    """Where uploads are mixed as the set is; None: the number of uploads was not given."""
    safe_review_per_day: Estimate | None = None
    """Where all uploads are safe."""
    safe_block_per_day: Estimate | None = None


def review_load(evaluation: Evaluation, uploads_per_day: int | None = None) -> ReviewLoad:
    """Return the load that a version would put on people.

    Args:
        evaluation: of the version.
        uploads_per_day: images that arrive on a day.
    """
    safe, unsafe = evaluation.safe, evaluation.unsafe
    both = DecisionCounts(safe.allow + unsafe.allow, safe.review + unsafe.review, safe.block + unsafe.block)
    review, block = share(both.review, both.total), share(both.block, both.total)
    safe_review, safe_block = share(safe.review, safe.total), share(safe.block, safe.total)
    if uploads_per_day is None:
        return ReviewLoad(review, block, safe_review, safe_block)
    return ReviewLoad(
        review,
        block,
        safe_review,
        safe_block,
        uploads_per_day,
        _times(review, uploads_per_day),
        _times(safe_review, uploads_per_day),
        _times(safe_block, uploads_per_day),
    )


def _times(estimate: Estimate, count: int) -> Estimate:
    def scaled(value: float | None) -> float | None:
        return None if value is None else round(value * count, 1)

    return Estimate(scaled(estimate.value), scaled(estimate.low), scaled(estimate.high))
