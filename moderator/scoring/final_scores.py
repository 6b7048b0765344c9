"""From the scores of prompts and signals to the final scores and levels of all categories of n images.

1. A category with prompts has the score of its rule in the worst view; `probe` joins the score of a signal with it.
2. A category of a signal has the signal's score.
3. `calibration` maps either of these.
4. A condition joins the results.

One image is an array of one row: the judge and the back-test share each step.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moderator.scoring.conditions import condition_scores
from moderator.scoring.score_calibration import isotonic, join_probe, platt
from moderator.scoring.score_plan import Doubles, Indices, ScorePlan

Flags = NDArray[np.bool_]
Levels = NDArray[np.int8]


def final_scores(
    plan: ScorePlan, prompts: NDArray[np.floating], signals: Mapping[str, ArrayLike], unsure: Flags | None
) -> Doubles:
    """Return the scores of all categories, float64 [n, C] in [0, 1].

    NaN: not known, because a signal on which the category depends has NaN or no entry, or a prompt's score is NaN.

    Args:
        plan: of the policy.
        prompts: [n, K] unsafe scores of the categories with prompts, in their worst views.
        signals: one score or [n] of them, by the name of the signal.
        unsure: as `unsure_categories` returns it.
    """
    scores = np.full((len(prompts), len(plan.categories)), np.nan)
    scores[:, plan.prompts] = prompts
    for name, columns in plan.signals.items():
        scores[:, columns] = _column(signals, name)
    for name, columns in plan.probes.items():
        scores[:, columns] = join_probe(scores[:, columns], _column(signals, name), plan.weight[columns])
    calibrate(plan, scores)
    apply_conditions(plan, scores, unsure)
    return scores


def calibrate(plan: ScorePlan, scores: Doubles, only: Sequence[int] | Indices | None = None) -> None:
    """Calibrate scores [n, C] in place: those of all categories, or only of some."""
    columns = plan.platt if only is None else np.intersect1d(plan.platt, only)
    if len(columns):
        scores[:, columns] = platt(scores[:, columns], plan.slope[columns], plan.offset[columns])
    for column, points in plan.isotonic.items():
        if only is None or column in only:
            scores[:, column] = isotonic(scores[:, column], points)


def apply_conditions(plan: ScorePlan, scores: Doubles, unsure: Flags | None) -> None:
    """Write the scores of conditions into scores [n, C], from those of the categories that they name."""
    for column, condition in plan.conditions.items():
        scores[:, column] = condition_scores(condition, plan.columns, scores, unsure)


def unsure_categories(plan: ScorePlan, unsure: Mapping[str, ArrayLike]) -> Flags | None:
    """Return which categories go to review unless they block: bool [n or 1, C]; None: none.

    These depend on a signal that did not read all of an image.

    Args:
        plan: of the policy.
        unsure: one bool or [n] of them, by the name of the signal; no entry means False.
    """
    found = {name: _flags(unsure[name]) for name in plan.depends if name in unsure}
    if not any(flags.any() for flags in found.values()):
        return None
    result = np.zeros((max(map(len, found.values())), len(plan.categories)), dtype=np.bool_)
    for name, flags in found.items():
        result[:, plan.depends[name]] |= flags
    return result


def final_levels(
    plan: ScorePlan, scores: Doubles, prompts: NDArray[np.integer], unsure: Flags | None
) -> Levels:
    """Return the outcome of the thresholds: int8 [n, C], 0 allow, 1 review, 2 block. A score of NaN gives 0.

    Args:
        plan: of the policy.
        scores: [n, C] as `final_scores` returns them.
        prompts: [n, K] levels of the categories with prompts, in their worst views. They stand where nothing moves the
            rule's score: `softmax-mean` also compares it with the safe score.
        unsure: as `unsure_categories` returns it.
    """
    blocked = scores >= plan.block
    review = scores >= plan.review
    if unsure is not None:
        review |= unsure
    levels = np.where(blocked, np.int8(2), review.astype(np.int8))
    levels[:, plan.prompts[plan.bare]] = prompts[:, plan.bare]
    return levels


def _column(signals: Mapping[str, ArrayLike], name: str) -> Doubles:
    return np.asarray(signals.get(name, np.nan), dtype=np.float64).reshape(-1, 1)


def _flags(value: ArrayLike) -> Flags:
    return np.asarray(value, dtype=np.bool_).reshape(-1, 1)
