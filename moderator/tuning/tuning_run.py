"""Tune a policy on labelled images: choose on one split, report on the other, return the text of a draft.

Thresholds and calibrations are fitted to scores of images that the prompts and probes were not chosen on: those of the
others are too good.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from moderator.errors import LabelsInvalid
from moderator.policies.policy_text import edit_policy
from moderator.policies.schema import Policy
from moderator.scoring.batch_decisions import ImageBlock
from moderator.tuning.data_splits import choosing_split
from moderator.tuning.evaluation import decide_images
from moderator.tuning.evaluation_metrics import Estimate, ranking_figures, share
from moderator.tuning.labelled_images import LabelledImages
from moderator.tuning.macro_recall import REPORTED_SHARE, MacroRecall, macro_recall
from moderator.tuning.rank_objective import Flags, Floats
from moderator.tuning.threshold_choice import TuningTarget, choose_thresholds, threshold_of_rate
from moderator.tuning.tuning_bench import TuningBench, changed_policy
from moderator.tuning.tuning_draft import changed_fields, draft_changes, kept_scales
from moderator.tuning.tuning_fit import TuningFit, TuningOptions, cross_fitted_odds, fit_policy
from moderator.tuning.tuning_scales import cut_of

#: Share of the images on which is chosen; the others report.
CHOOSING_SHARE = 0.7
#: Fewest images of either split.
IMAGES_MIN = 10


@dataclass(frozen=True)
class PointFigures:
    """What the thresholds of a version do to a category, on the images that report."""

    found: Estimate
    false_alarms: Estimate
    recall: Estimate
    """Where 5 % of the others are flagged."""


@dataclass(frozen=True)
class CategoryTuning:
    """The change of one category."""

    before: PointFigures
    after: PointFigures
    estimated: Estimate
    """Recall where 5 % of the others are flagged, on the images for choosing, each judged by a fit without it."""
    unsafe_added: tuple[str, ...] = ()
    unsafe_removed: tuple[str, ...] = ()
    safe_added: tuple[str, ...] = ()
    safe_removed: tuple[str, ...] = ()
    gain: tuple[float, float] | None = None
    """Cross-validated gain of the prompts, in nats per image that shows it, and its standard error."""
    probe: tuple[float, float] | None = None
    """Inverse L2 strength and weight of a new probe."""


@dataclass(frozen=True, eq=False)
class TuningResult:
    """The draft of a tuning, and what it would do."""

    text: str
    """Content of a policy file."""
    files: Mapping[str, bytes]
    """Files of probes, by their paths below the folder of policies."""
    target: TuningTarget
    categories: Mapping[str, CategoryTuning]
    templates: tuple[str, ...]
    chosen: int
    """Images on which was chosen."""
    reported: int
    tried: int
    """Sets of prompts, templates and probes that were compared to choose, cross-validation included."""
    before: MacroRecall
    after: MacroRecall
    estimated: MacroRecall
    safe_before: Estimate
    """Share of the safe images of the reporting split that any category flags."""
    safe_after: Estimate
    others_dropped: bool = field(default=False)
    """Whether scales of other encoders were dropped, because other prompts have other scores."""


def tune_policy(
    base_text: str,
    bench: TuningBench,
    target: TuningTarget,
    options: TuningOptions,
    calibrate: str | None = None,
    choosing_share: float = CHOOSING_SHARE,
) -> TuningResult:
    """Tune a policy for a target.

    Args:
        base_text: content of its file.
        bench: the policy and labelled images.
        target: what thresholds are chosen for.
        options: what else may change.
        calibrate: `platt`, `isotonic` or None.
        choosing_share: share of the images on which is chosen.

    Raises:
        LabelsInvalid: there are too few images.
    """
    chosen = choosing_split(bench.strata, bench.copies, choosing_share, options.seed)
    if min(chosen.sum(), (~chosen).sum()) < IMAGES_MIN:
        raise LabelsInvalid(
            f"{len(chosen)} labelled images, {len(np.unique(bench.copies))} without copies of one another, are too "
            f"few to choose on some and report on others; label at least {6 * IMAGES_MIN} that are no copies"
        )
    fitted = fit_policy(bench, options, chosen)
    held = cross_fitted_odds(bench, options, chosen)[0] if options.prompts or options.probe else fitted.odds
    cuts = _cuts(bench, fitted, held, chosen, target)
    changes, files, probes = draft_changes(bench, fitted, held, chosen, cuts, calibrate)
    text = edit_policy(base_text, changes)
    draft = changed_policy(bench.policy, **changed_fields(bench.policy, changes))
    reporting = _with_probes(bench.images, probes).subset(~chosen)
    old, new = _decided(bench, bench.policy, reporting), _decided(bench, draft, reporting)
    truth = bench.truth
    categories = {
        name: _category(bench, fitted, name, column, held, chosen, old, new)
        for column, name in enumerate(bench.categories)
    }
    safe = bench.safe[~chosen]
    return TuningResult(
        text=text,
        files=files,
        target=target,
        categories=categories,
        templates=fitted.templates,
        chosen=int(chosen.sum()),
        reported=int((~chosen).sum()),
        tried=fitted.tried,
        before=macro_recall(truth[~chosen], old[0], options.seed),
        after=macro_recall(truth[~chosen], new[0], options.seed),
        estimated=macro_recall(truth[chosen], held[chosen], options.seed),
        safe_before=share(int((old[1][safe] > 0).any(axis=1).sum()), int(safe.sum())),
        safe_after=share(int((new[1][safe] > 0).any(axis=1).sum()), int(safe.sum())),
        others_dropped=len(bench.policy.encoders) > len(kept_scales(bench, fitted)),
    )


def _cuts(
    bench: TuningBench, fitted: TuningFit, odds: Floats, chosen: Flags, target: TuningTarget
) -> list[float | None]:
    """Return the log-odds from which each category flags; None: its thresholds stay."""
    usable = [column for column in range(odds.shape[1]) if np.isfinite(odds[chosen, column]).all()]
    cuts: list[float | None] = [None] * odds.shape[1]
    found = choose_thresholds(
        odds[chosen][:, usable], bench.truth[chosen][:, usable], bench.safe[chosen], target
    )
    specs = list(bench.categories.values())
    before = bench.bare_odds(bench.policy.templates)
    for column, cut in zip(usable, found, strict=True):
        cuts[column] = cut
        spec = specs[column]
        plain = spec.has_prompts and spec.probe is None and spec.calibration is None
        flagging = spec.block if spec.review is None else spec.review
        if cut is None and plain and flagging < 1 and fitted.templates != bench.policy.templates:
            # Other templates have other scores: what is known of this category is how much it flags.
            old_cut = cut_of(spec, flagging)
            cuts[column] = threshold_of_rate(before[chosen, column], old_cut, odds[chosen, column])
    return cuts


def _with_probes(images: LabelledImages, probes: Mapping[str, Floats]) -> LabelledImages:
    def with_them(block: ImageBlock) -> ImageBlock:
        return replace(block, signals={**block.signals, **probes})

    return replace(
        images,
        block=with_them(images.block),
        others={digest: with_them(block) for digest, block in images.others.items()},
    )


def _decided(bench: TuningBench, policy: Policy, images: LabelledImages) -> tuple[Floats, Any]:
    decided = decide_images(bench.compiler.compile(policy), images)
    return decided.scores.astype(np.float64), decided.levels


def _category(
    bench: TuningBench,
    fitted: TuningFit,
    name: str,
    column: int,
    held: Floats,
    chosen: Flags,
    old: tuple[Floats, Any],
    new: tuple[Floats, Any],
) -> CategoryTuning:
    tuned, spec = fitted.categories[name], bench.policy.categories[name]
    truth = bench.truth[:, column]
    estimated = (
        ranking_figures(truth[chosen], held[chosen, column], (REPORTED_SHARE,)).recall_at[0]
        if np.isfinite(held[chosen, column]).all()
        else Estimate(None)
    )
    return CategoryTuning(
        before=_point(truth[~chosen], old[0][:, column], old[1][:, column]),
        after=_point(truth[~chosen], new[0][:, column], new[1][:, column]),
        estimated=estimated,
        unsafe_added=tuple(text for text in tuned.unsafe if text not in spec.unsafe),
        unsafe_removed=tuple(text for text in spec.unsafe if text not in tuned.unsafe),
        safe_added=tuple(text for text in tuned.safe if text not in spec.safe),
        safe_removed=tuple(t for t in spec.safe if t not in tuned.safe and t not in bench.policy.safe),
        gain=None if tuned.search is None else (tuned.search.gain, tuned.search.error),
        probe=None if tuned.probe is None else (tuned.probe.strength, tuned.probe.weight),
    )


def _point(truth: Flags, scores: Floats, levels: Any) -> PointFigures:
    known = np.isfinite(scores)
    truth, scores, levels = truth[known], scores[known], levels[known]
    return PointFigures(
        found=share(int((levels[truth] > 0).sum()), int(truth.sum())),
        false_alarms=share(int((levels[~truth] > 0).sum()), int((~truth).sum())),
        recall=ranking_figures(truth, scores, (REPORTED_SHARE,)).recall_at[0],
    )
