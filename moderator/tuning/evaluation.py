"""Evaluate a version of a policy on labelled images: what it would do to them, and how sure that is. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.errors import LabelsInvalid
from moderator.printable import printable
from moderator.scoring.batch_decisions import NOT_COMPUTABLE, BatchDecisions, decide_block
from moderator.scoring.thresholds import CompiledPolicy
from moderator.suggestions import did_you_mean
from moderator.tuning.evaluation_curves import (
    CalibrationBin,
    CostCurve,
    ThresholdSweep,
    calibration_bins,
    cost_curve,
    histogram,
    threshold_sweep,
)
from moderator.tuning.evaluation_metrics import (
    Estimate,
    Flags,
    Numbers,
    RankingFigures,
    expected_calibration_error,
    f1,
    ranking_figures,
    share,
)
from moderator.tuning.evaluation_slices import Slices, slices_by
from moderator.tuning.evaluation_truth import Truth, truth_of
from moderator.tuning.labelled_images import LabelledImages

#: Shares of false alarms at which recall is stated.
ALARM_SHARES = (0.01, 0.05)


@dataclass(frozen=True)
class DecisionCounts:
    """How many images got each decision."""

    allow: int
    review: int
    block: int

    @property
    def total(self) -> int:
        """Number of images."""
        return self.allow + self.review + self.block

    @property
    def flagged(self) -> int:
        """Number of images that are not allowed."""
        return self.review + self.block


@dataclass(frozen=True)
class OperatingPoint:
    """How well a threshold separates the images that show a category from the others."""

    precision: Estimate
    recall: Estimate
    false_alarms: Estimate
    """Share of the others that are flagged."""
    f1: float | None


@dataclass(frozen=True, eq=False)
class CategoryFigures:
    """The figures of one category, or of all together."""

    review: float | None
    """Threshold from which an image goes to people; None: no score does."""
    block: float | None
    """Threshold from which it is blocked; None: no score does."""
    shown: DecisionCounts
    """Of the images that show it."""
    others: DecisionCounts
    not_computable: int
    """Images without a score, which are in no other figure."""
    flagged: OperatingPoint
    """Where review counts as found."""
    blocked: OperatingPoint
    """Where only a block does."""
    ranking: RankingFigures
    sweep: ThresholdSweep
    cost: CostCurve | None
    calibration_error: float | None
    calibration: tuple[CalibrationBin, ...]
    shown_histogram: NDArray[np.int64]
    others_histogram: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a version of a policy does to labelled images."""

    policy: str
    digest: str
    encoder: str
    images: int
    safe: DecisionCounts
    """Of the images that show nothing that is not allowed."""
    unsafe: DecisionCounts
    overall: CategoryFigures
    """Of any category: the score is the highest of those that can flag an image."""
    categories: dict[str, CategoryFigures]
    slices: tuple[Slices, ...]
    truth: Truth
    decided: BatchDecisions
    """Scores, levels, and the decisions with those on images that were not judged in full."""

    @property
    def sentence(self) -> str:
        """What a reader should know first."""
        safe, unsafe = self.safe, self.unsafe
        parts = []
        if safe.total:
            parts.append(
                f"Of {_counted(safe.total, 'safe image')}, {_some(safe.review)} would go to review and "
                f"{_some(safe.block)} be blocked."
            )
        if unsafe.total:
            parts.append(
                f"Of {_counted(unsafe.total, 'image')} that show something not allowed, {_some(unsafe.block)} would be "
                f"blocked, {_some(unsafe.review)} go to review, and {_some(unsafe.allow)} be let through."
            )
        return " ".join(parts)


def evaluate(
    compiled: CompiledPolicy, images: LabelledImages, *, slice_by: Collection[str] = (), seed: int = 0
) -> Evaluation:
    """Evaluate a version of a policy.

    Args:
        compiled: the version, compiled by the encoder of the images.
        images: loaded for it.
        slice_by: columns whose values are compared.
        seed: of the bootstrap.

    Raises:
        LabelsInvalid: there is no such column.
    """
    policy = compiled.policy
    for column in slice_by:
        if column not in images.columns:
            hint = did_you_mean(column, images.columns) or f"columns: {', '.join(images.columns) or 'none'}"
            raise LabelsInvalid(f"--slice {printable(column)}: the labels have no such column; {hint}")
    decided = decide_images(compiled, images)
    truth = truth_of(compiled, images)
    unsafe, known = truth.unsafe, decided.decisions != NOT_COMPUTABLE
    categories = {}
    for number, (name, spec) in enumerate(compiled.categories.items()):
        thresholds = (spec.review, spec.block if np.isfinite(spec.block) else None)
        categories[name] = _figures(
            truth.shows[:, number], decided.scores[:, number], decided.levels[:, number], thresholds, seed
        )
    highest = np.where(
        known, np.nan_to_num(decided.scores[:, truth.flagging], nan=0).max(axis=1, initial=0), np.nan
    )
    return Evaluation(
        policy=policy.reference,
        digest=policy.digest,
        encoder=images.identity.id,
        images=len(images),
        safe=_counts(decided.decisions[~unsafe]),
        unsafe=_counts(decided.decisions[unsafe]),
        overall=_figures(unsafe, highest, decided.decisions, (None, None), seed),
        categories=categories,
        slices=tuple(
            slices_by(
                column,
                [value for value, is_known in zip(images.columns[column], known, strict=True) if is_known],
                unsafe[known],
                decided.decisions[known] > 0,
            )
            for column in slice_by
        ),
        truth=truth,
        decided=decided,
    )


def decide_images(compiled: CompiledPolicy, images: LabelledImages) -> BatchDecisions:
    """Return a version's decisions on images as a worker makes them: what was not seen in full is not allowed."""
    decided = decide_block(compiled, images.block_for(compiled.policy))
    if images.unseen is None:
        return decided
    decisions = np.where(images.unseen & (decided.decisions == 0), np.int8(1), decided.decisions)
    return BatchDecisions(decided.categories, decided.scores, decided.levels, decisions)


def _figures(
    truth: Flags,
    scores: Numbers,
    levels: NDArray[np.int8],
    thresholds: tuple[float | None, float | None],
    seed: int,
) -> CategoryFigures:
    known = np.isfinite(scores) & (levels != NOT_COMPUTABLE)
    truth, scores, levels = truth[known], scores[known], levels[known]
    return CategoryFigures(
        review=thresholds[0],
        block=thresholds[1],
        shown=_counts(levels[truth]),
        others=_counts(levels[~truth]),
        not_computable=int((~known).sum()),
        flagged=_operating_point(truth, levels >= 1),
        blocked=_operating_point(truth, levels >= 2),
        ranking=ranking_figures(truth, scores, ALARM_SHARES, seed=seed),
        sweep=threshold_sweep(truth, scores),
        cost=cost_curve(truth, scores),
        calibration_error=expected_calibration_error(truth, scores),
        calibration=calibration_bins(truth, scores),
        shown_histogram=histogram(scores[truth]),
        others_histogram=histogram(scores[~truth]),
    )


def _operating_point(truth: Flags, flagged: Flags) -> OperatingPoint:
    hits, alarms = int((truth & flagged).sum()), int((~truth & flagged).sum())
    positives, negatives = int(truth.sum()), int((~truth).sum())
    return OperatingPoint(
        precision=share(hits, hits + alarms),
        recall=share(hits, positives),
        false_alarms=share(alarms, negatives),
        f1=f1(hits, alarms, positives - hits) if positives else None,
    )


def _counts(levels: NDArray[np.int8]) -> DecisionCounts:
    return DecisionCounts(*(int((levels == level).sum()) for level in (0, 1, 2)))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _some(count: int) -> str:
    return f"{count:,}" if count else "none"
