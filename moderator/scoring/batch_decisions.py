"""Decide many images at once by one policy, as `thresholds.judge` decides each: for back-tests and evaluations.

Scores are computed category by category for thousands of views, which differs from the judge's in the last bits. Where
these could change a decision, the image is scored once more exactly as the judge does it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from moderator.policies.condition_parser import names_in
from moderator.policies.schema import Policy
from moderator.scoring.allowance import with_allowance
from moderator.scoring.final_scores import final_levels, final_scores, unsure_categories
from moderator.scoring.half_precision import Widener
from moderator.scoring.layout import Layout
from moderator.scoring.rules import Floats, Scores, rule_scores, score
from moderator.scoring.score_plan import ScorePlan
from moderator.scoring.thresholds import CompiledPolicy, severities
from moderator.view import View, rows_of

#: Level of a category, and decision of an image, for which a reading or a sound embedding is missing.
NOT_COMPUTABLE = -1
#: Views that are scored at a time, and that are multiplied with prompts at a time: what is computed stays in the
#: processor's cache, and the calls are few.
CHUNK_ROWS, PRODUCT_ROWS = 8192, 1024
#: Relative error of a similarity, in float32, by the order in which its products are summed.
_SIMILARITY_ERROR = 2e-7
#: Embeddings are of length 1: a similarity as large as this one comes from a number that is not finite.
_SIMILARITY_MAX = 1000.0

Levels = NDArray[np.int8]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ImageBlock:
    """What many images are judged by."""

    embeddings: NDArray[np.floating]
    """float16 or float32 [rows, dimension], rows of length 1."""
    starts: Indices
    """[n + 1]: rows starts[i] to starts[i + 1] are the views of image i; each image has at least one."""
    views: Sequence[View] | None = None
    """What each row shows; None: each is a whole frame. Those that the policy does not ask for are left out."""
    signals: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """[n] by the name of a signal of the policy; NaN, or no entry: it was not read."""
    unsure: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """[n] likewise: its categories go to review unless they block. No entry: none."""
    unasked: frozenset[str] = frozenset()
    """Signals that are only read if an image goes to review: no condition relies on what they deny."""

    def __len__(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True, eq=False)
class BatchDecisions:
    """The decisions of one policy on n images."""

    categories: tuple[str, ...]
    """All C categories, in the policy's order."""
    scores: Floats
    """float32 [n, C]; NaN: not computable, because its signal was not read or the embedding is not sound."""
    levels: Levels
    """int8 [n, C]: 0 allow, 1 review, 2 block, -1 not computable."""
    decisions: Levels
    """int8 [n]: the severest; -1 where a category is not computable and no other blocks."""


def decide_block(compiled: CompiledPolicy, block: ImageBlock) -> BatchDecisions:
    """Return the decisions of a policy on images: those of `thresholds.judge`, and its scores within 1e-6.

    An image whose embedding is not finite or is zero, which the judge refuses, is not computable.
    """
    plan = compiled.plan
    if compiled.layout.categories and len(block):
        block = _planned(compiled.policy, block)
        prompts, levels, near = _by_prompts(compiled, block)
        near |= _near_thresholds(compiled, block, prompts)
        again = np.flatnonzero(near & np.isfinite(prompts).all(axis=1))
        if len(again):
            prompts[again], levels[again] = _decide_exactly(compiled, block, again)
    else:
        prompts = np.zeros((len(block), len(compiled.layout.categories)), dtype=np.float32)
        levels = np.zeros(prompts.shape, dtype=np.int8)
    scores = final_scores(plan, prompts, block.signals, _bounds(plan, block))
    found = final_levels(plan, scores, levels, unsure_categories(plan, block.unsure))
    found[np.isnan(scores)] = NOT_COMPUTABLE
    return BatchDecisions(plan.categories, scores.astype(np.float32), found, decide_levels(found))


def decide_levels(levels: Levels) -> Levels:
    """Return the decisions that levels of categories come to: int8 [n, C] -> int8 [n]."""
    highest: Levels = levels.max(axis=1)
    open_ = (levels == NOT_COMPUTABLE).any(axis=1) & (highest < 2)
    return np.where(open_, np.int8(NOT_COMPUTABLE), highest)


def _planned(policy: Policy, block: ImageBlock) -> ImageBlock:
    """Return the block with the views that the policy asks for."""
    if block.views is None:
        return block
    rows = rows_of(policy.view_plan(len(block.views)), block.views)
    if len(rows) == len(block.views):
        return block
    starts = np.searchsorted(rows, block.starts)
    return replace(
        block,
        embeddings=block.embeddings[rows],
        starts=starts,
        views=[block.views[row] for row in rows],
    )


def _bounds(plan: ScorePlan, block: ImageBlock) -> NDArray[np.bool_] | None:
    """Return where scores are lower bounds; see `unsure_categories`."""
    return unsure_categories(plan, {**block.unsure, **dict.fromkeys(block.unasked, True)})


def _by_prompts(compiled: CompiledPolicy, block: ImageBlock) -> tuple[Floats, Levels, NDArray[np.bool_]]:
    """Return scores and levels of the categories with prompts [n, K], and which levels may differ from the judge's [n].

    NaN: one of the image's views is not finite, or zero.
    """
    halves = _halves(compiled.layout)
    unsafe = np.empty((len(block), len(halves)), dtype=np.float32)
    levels = np.empty(unsafe.shape, dtype=np.int8)
    near = np.empty(len(block), dtype=np.bool_)
    margin, widen = _margin(compiled), Widener()
    for images in _chunks(block.starts):
        starts = block.starts[images.start : images.stop + 1]
        rows = slice(int(starts[0]), int(starts[-1]))
        logits, sound = _logits(compiled, block.embeddings[rows], widen)
        both = _score_all(compiled, halves, logits)
        views = None if block.views is None else block.views[rows]
        scores = _allowed(compiled.layout, both[..., 0], both[..., 1], views)
        scores.unsafe[~sound] = np.nan
        unsafe[images], levels[images], near[images] = _worst(compiled, scores, starts - starts[0], margin)
    return unsafe, levels, near


def _margin(compiled: CompiledPolicy) -> np.float32:
    """Return by how much a score may differ from the judge's. A score moves by at most a quarter of its logits."""
    return np.float32(_SIMILARITY_ERROR * (1 + abs(compiled.scale) + abs(compiled.bias)))


def _near_thresholds(
    compiled: CompiledPolicy, block: ImageBlock, prompts: Floats
) -> NDArray[np.bool_] | bool:
    """Return for which images a probe, a calibration or a condition makes a decision of a score's last bits [n]."""
    plan = compiled.plan
    if plan.bare.all() and not plan.conditions:
        return False
    margin, bounds = _margin(compiled), _bounds(plan, block)
    low, high = (
        final_scores(plan, np.clip(prompts + moved, 0, 1), block.signals, bounds)
        for moved in (-margin, margin)
    )
    near = ((low >= plan.block) != (high >= plan.block)) | ((low >= plan.review) != (high >= plan.review))
    for column, condition in plan.conditions.items():
        for name in names_in(condition):  # its score is that of one of these, or 1 minus it
            ends = low[:, plan.columns[name]], high[:, plan.columns[name]]
            for threshold in (plan.review[column], plan.block[column]):
                for at in (threshold, 1 - threshold):
                    near[:, column] |= (ends[0] >= at) != (ends[1] >= at)
    crossed: NDArray[np.bool_] = near.any(axis=1)
    return crossed


def _chunks(starts: Indices) -> Iterator[slice]:
    """Yield images of about `CHUNK_ROWS` views."""
    first, last = 0, len(starts) - 1
    while first < last:
        fits = int(np.searchsorted(starts, starts[first] + CHUNK_ROWS, side="right")) - 1
        end = min(max(fits, first + 1), last)
        yield slice(first, end)
        first = end


def _logits(
    compiled: CompiledPolicy, embeddings: NDArray[np.floating], widen: Widener
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the logits of prompts and views -> [P, rows], and which views are finite and not zero."""
    similarities = np.empty((len(embeddings), len(compiled.matrix)), dtype=np.float32)
    with np.errstate(invalid="ignore"):  # what is not finite stays so
        for at in range(0, len(embeddings), PRODUCT_ROWS):
            rows = slice(at, at + PRODUCT_ROWS)
            np.matmul(widen(embeddings[rows]), compiled.matrix.T, out=similarities[rows])
    logits = np.empty(similarities.shape[::-1], dtype=np.float32)
    np.multiply(similarities.T, np.float32(compiled.scale), out=logits)
    logits += np.float32(compiled.bias)
    sound = np.abs(similarities).max(axis=1) < _SIMILARITY_MAX
    zero = np.flatnonzero(similarities[:, 0] == 0)
    sound[zero] &= embeddings[zero].any(axis=1)
    return logits, sound


def _score_all(compiled: CompiledPolicy, halves: list[tuple[Indices, int]], logits: Floats) -> Floats:
    """Return unsafe and safe scores of views -> [rows, C, 2]. Prompt by prompt, numbers lie beside each other."""
    shape = (len(halves), 2, logits.shape[1])
    top, sums = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.float32)
    for number, (rows, unsafe) in enumerate(halves):
        own = logits[rows]
        own[:unsafe].max(axis=0, out=top[number, 0])
        if unsafe < len(own):
            own[unsafe:].max(axis=0, out=top[number, 1])
        with np.errstate(invalid="ignore"):
            own -= top[number].max(axis=0)
        np.exp(own, out=own)
        own[:unsafe].sum(axis=0, out=sums[number, 0])
        own[unsafe:].sum(axis=0, out=sums[number, 1])
    return rule_scores(compiled.layout, top.transpose(2, 0, 1), sums.transpose(2, 0, 1))


def _halves(layout: Layout) -> list[tuple[Indices, int]]:
    """Return the rows of the matrix of each category, unsafe prompts first, and the number of these."""
    ends = [*layout.starts[1:], len(layout.gather)]
    return [
        (
            layout.gather[start:end][layout.gather[start:end] < len(layout.prompts)],
            int(layout.unsafe[start:end].sum()),
        )
        for start, end in zip(layout.starts, ends, strict=True)
    ]


def _allowed(layout: Layout, unsafe: Floats, safe: Floats, views: Sequence[View] | None) -> Scores:
    nothing = np.empty((len(unsafe), 0), dtype=np.float32)
    scores = Scores(unsafe, safe, nothing, nothing)
    return scores if views is None else with_allowance(scores, views, layout.view_allowance)


def _worst(
    compiled: CompiledPolicy, scores: Scores, starts: Indices, margin: np.float32
) -> tuple[Floats, Levels, NDArray[np.bool_]]:
    """Return scores and levels of the worst views [n, K], and which levels may differ by a margin of the scores [n]."""
    levels = severities(compiled.layout, _moved(scores, margin))
    lower = severities(compiled.layout, _moved(scores, -margin)) if margin else levels
    near = (levels != lower).any(axis=1)
    unsafe = scores.unsafe
    if len(unsafe) != len(starts) - 1:
        firsts = starts[:-1]
        near = np.logical_or.reduceat(near, firsts)
        # The severest view, then the highest score; NaN is handed on.
        worst = np.maximum.reduceat(levels + unsafe * 0.5, firsts, axis=0)
        levels = np.minimum(np.nan_to_num(worst).astype(np.int64), 2)
        unsafe = ((worst - levels) * 2).astype(np.float32)
    return unsafe, levels.astype(np.int8), near


def _moved(scores: Scores, by: np.float32) -> Scores:
    return replace(scores, unsafe=scores.unsafe + by, safe=scores.safe - by) if by else scores


def _decide_exactly(compiled: CompiledPolicy, block: ImageBlock, images: Indices) -> tuple[Floats, Levels]:
    """Return scores and levels of some images -> [len(images), C], bit for bit as the judge has them."""
    counts = np.diff(block.starts)[images]
    scores = np.empty((len(images), len(compiled.layout.categories)), dtype=np.float32)
    levels = np.empty(scores.shape, dtype=np.int8)
    for count in np.unique(counts):
        those = np.flatnonzero(counts == count)
        rows = (block.starts[images[those]][:, None] + np.arange(count)).ravel()
        # One product for each image, of the shape that the judge multiplies.
        stack = block.embeddings[rows].astype(np.float32).reshape(len(those), count, -1)
        similarities = np.matmul(stack, compiled.matrix.T).reshape(len(rows), -1)
        found = score(compiled.layout, similarities, compiled.scale, compiled.bias)
        views = None if block.views is None else [block.views[row] for row in rows.tolist()]
        allowed = _allowed(compiled.layout, found.unsafe, found.safe, views)
        starts = np.arange(len(those) + 1) * count
        scores[those], levels[those], _ = _worst(compiled, allowed, starts, np.float32(0))
    return scores, levels
