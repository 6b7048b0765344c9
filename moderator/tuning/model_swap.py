"""Compare a policy on two encoders, and choose thresholds on the new one that keep how much each category flags. Pure.

Scores of two encoders are on two scales. Quantile matching needs no labels: the threshold on the new scale is where as
many images are above it as were above the old one on the old scale. It keeps rates of decisions, and not decisions: how
many differ is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderator.errors import LabelsInvalid
from moderator.identity import Identity
from moderator.policies.category_schema import Category
from moderator.policies.encoder_scales import CategoryScale
from moderator.policies.fields import NEVER, NEVER_WORD
from moderator.policies.policy_text import edit_policy
from moderator.scoring.batch_decisions import BatchDecisions, ImageBlock, decide_block
from moderator.scoring.score_calibration import expit, logit
from moderator.scoring.thresholds import CompiledPolicy
from moderator.tuning.rank_objective import Floats
from moderator.tuning.threshold_choice import threshold_of_rate

#: Log-odds of the highest score.
_LOGIT_MAX = float(logit(np.array(1.0)))
LEVELS = ("allow", "review", "block")


@dataclass(frozen=True, eq=False)
class CategorySwap:
    """One category on two encoders: how many images each level has, and on how many images the encoders agree."""

    old: tuple[int, int, int]
    new: tuple[int, int, int]
    same: int
    scale: CategoryScale | None
    """None: its score comes from a condition, or from a signal that does not depend on the encoder."""


@dataclass(frozen=True, eq=False)
class ModelSwap:
    """A policy on two encoders, with matched thresholds on the new one."""

    categories: Mapping[str, CategorySwap]
    decisions: NDArray[np.int64]
    """[3, 3] images by their decision on the old encoder and on the new one."""
    changed: tuple[int, ...]
    """Numbers of the images whose decision differs."""

    @property
    def same_share(self) -> float:
        """Return the share of the images with the same decision."""
        return float(np.trace(self.decisions) / self.decisions.sum())


def compare_encoders(
    old: CompiledPolicy, old_block: ImageBlock, new: CompiledPolicy, new_block: ImageBlock
) -> ModelSwap:
    """Compare a policy on two encoders.

    Args:
        old: the policy, compiled by the old encoder.
        old_block: n images, embedded by it.
        new: the same prompts, compiled by the new encoder.
        new_block: the same images, embedded by it.

    Raises:
        LabelsInvalid: the blocks are of different images, or of none.
    """
    if len(old_block) != len(new_block) or not len(old_block):
        raise LabelsInvalid("two encoders are compared on the same images, and at least on one")
    before = decide_block(old, old_block)
    raw = decide_block(new, new_block)
    columns, categories = {}, {}
    for column, (name, spec) in enumerate(old.categories.items()):
        levels, scale = raw.levels[:, column], None
        if spec.has_prompts:
            scores = _bare(new.categories[name], raw.scores[:, column])
            scale = _matched(spec, before.scores[:, column].astype(np.float64), scores)
            levels = _levels(scale, scores)
        columns[name] = levels
        categories[name] = CategorySwap(
            _counts(before.levels[:, column]),
            _counts(levels),
            int((levels == before.levels[:, column]).sum()),
            scale,
        )
    after = np.stack(list(columns.values()), axis=1).max(axis=1)
    return ModelSwap(
        categories, _table(before, after), tuple(np.flatnonzero(after != before.decisions).tolist())
    )


def swap_text(base_text: str, swap: ModelSwap, identity: Identity, kept: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a policy with the matched thresholds for an encoder.

    Args:
        base_text: content of its file.
        swap: the comparison.
        identity: of the new encoder.
        kept: the scales of other encoders.
    """
    scales = {
        name: one.scale.model_dump(mode="json", exclude_defaults=True)
        for name, one in swap.categories.items()
        if one.scale is not None
    }
    entry = {
        "id": identity.id,
        "revision": identity.revision,
        "preprocessing": identity.preprocessing,
        "categories": scales,
    }
    return edit_policy(base_text, {("encoders",): [*kept, entry]})


def scales_of(categories: Mapping[str, Category], identity: Identity) -> dict[str, Any]:
    """Return the entry of `encoders` for an encoder on which categories have the scales that they have now."""
    scales = {
        name: {key: getattr(spec, key) for key in ("midpoint", "calibration", "review", "block")}
        for name, spec in categories.items()
        if spec.when is None
    }
    for name, spec in categories.items():
        if not spec.has_prompts:
            scales.get(name, {}).pop("midpoint", None)
        if spec.calibration is not None:
            scales[name]["calibration"] = spec.calibration.model_dump(mode="json")
    return {
        "id": identity.id,
        "revision": identity.revision,
        "preprocessing": identity.preprocessing,
        "categories": {
            name: {k: v for k, v in keys.items() if v is not None} for name, keys in scales.items()
        },
    }


def _bare(spec: Category, scores: NDArray[np.floating]) -> Floats:
    """Return scores with the default midpoint."""
    return np.asarray(expit(logit(scores.astype(np.float64)) + logit(np.array(spec.midpoint))))


def _matched(spec: Category, old: Floats, new: Floats) -> CategoryScale:
    """Return thresholds on new scores that flag and block as many images as the category's own do on old ones."""

    def matched(threshold: float) -> float:
        cut = threshold_of_rate(logit(old), float(logit(np.array(threshold))), logit(new))
        # Scores of an encoder may all be at the end of the scale: what none reached, none reaches.
        return NEVER if cut > _LOGIT_MAX else float(f"{float(expit(np.array(cut))):.9g}")

    block = matched(spec.block) if spec.block <= 1 else NEVER
    review = None if spec.review is None else matched(spec.review)
    if review is not None and review >= block:
        review = None
    return CategoryScale(review=review, block=NEVER_WORD if block == NEVER else block)


def _levels(scale: CategoryScale, scores: Floats) -> NDArray[np.int8]:
    review = np.inf if scale.review is None else scale.review
    return np.where(scores >= scale.block, np.int8(2), (scores >= review).astype(np.int8))


def _counts(levels: NDArray[np.int8]) -> tuple[int, int, int]:
    allow, review, block = (int((levels == level).sum()) for level in range(3))
    return allow, review, block


def _table(before: BatchDecisions, after: NDArray[np.int8]) -> NDArray[np.int64]:
    table = np.zeros((3, 3), dtype=np.int64)
    known = (before.decisions >= 0) & (after >= 0)
    np.add.at(table, (before.decisions[known], after[known]), 1)
    return table
