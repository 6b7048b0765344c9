"""Decide many images at once by one policy, as `thresholds.judge` decides each: for back-tests and evaluations.

Scores are computed category by category for thousands of views, which differs from the judge's in the last bits. Where
these could change a decision, the image is scored once more exactly as the judge does it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from moderator.policies.schema import Policy
from moderator.scoring.allowance import with_allowance
from moderator.scoring.layout import Layout
from moderator.scoring.rules import Floats, Scores, rule_scores, score
from moderator.scoring.thresholds import CompiledPolicy, severities
from moderator.view import View, rows_of

#: Level of a category, and decision of an image, for which a reading or a sound embedding is missing.
NOT_COMPUTABLE = -1
#: Views that are scored at a time: their similarities stay in the processor's cache.
CHUNK_ROWS = 2048
#: Relative error of a similarity, in float32, by the order in which its products are summed.
_SIMILARITY_ERROR = 2e-7

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
    policy = compiled.policy
    names = tuple(policy.categories)
    scores = np.full((len(block), len(names)), np.nan, dtype=np.float32)
    levels = np.full(scores.shape, NOT_COMPUTABLE, dtype=np.int8)
    if compiled.layout.categories and len(block):
        columns = [names.index(name) for name in compiled.layout.categories]
        scores[:, columns], levels[:, columns] = _by_prompts(compiled, _planned(policy, block))
    for column, spec in enumerate(policy.categories.values()):
        values = block.signals.get(spec.signal) if spec.signal is not None else None
        if values is not None:
            read = ~np.isnan(values)
            review = np.inf if spec.review is None else spec.review
            unsure = block.unsure.get(spec.signal or "", False)
            level = np.where(values >= spec.block, 2, (values >= review) | unsure)
            scores[:, column] = values
            levels[:, column] = np.where(read, level, NOT_COMPUTABLE)
    return BatchDecisions(names, scores, levels, decide_levels(levels))


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


def _by_prompts(compiled: CompiledPolicy, block: ImageBlock) -> tuple[Floats, Levels]:
    """Return the scores and levels of the layout's categories -> [n, C]."""
    halves = _halves(compiled.layout)
    unsafe = np.empty((len(block), len(halves)), dtype=np.float32)
    levels = np.empty(unsafe.shape, dtype=np.int8)
    for images in _chunks(block.starts):
        part = _part(block, images)
        similarities, sound = _similarities(compiled, part.embeddings)
        both = _score_all(compiled, halves, similarities)
        scores = _allowed(both[..., 0], both[..., 1], part.views)
        scores.unsafe[~sound] = np.nan
        unsafe[images], levels[images], near = _worst(compiled, scores, part.starts)
        again = np.flatnonzero(near)
        if len(again):
            unsafe[again + images.start], levels[again + images.start] = _decide_exactly(
                compiled, part, again
            )
    unsafe[levels == NOT_COMPUTABLE] = np.nan
    return unsafe, levels


def _chunks(starts: Indices) -> Iterator[slice]:
    """Yield images of about `CHUNK_ROWS` views."""
    first, last = 0, len(starts) - 1
    while first < last:
        fits = int(np.searchsorted(starts, starts[first] + CHUNK_ROWS, side="right")) - 1
        end = min(max(fits, first + 1), last)
        yield slice(first, end)
        first = end


def _part(block: ImageBlock, images: slice) -> ImageBlock:
    starts = block.starts[images.start : images.stop + 1]
    rows = slice(int(starts[0]), int(starts[-1]))
    views = None if block.views is None else block.views[rows]
    return ImageBlock(block.embeddings[rows].astype(np.float32), starts - starts[0], views)


def _similarities(compiled: CompiledPolicy, embeddings: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the cosines of prompts and views -> [P, rows], and which views are finite and not zero."""
    with np.errstate(invalid="ignore"):  # what is not finite stays so
        similarities: Floats = compiled.matrix @ embeddings.T
    sound = np.logical_and.reduce(np.isfinite(similarities), axis=0)
    zero = np.flatnonzero(similarities[0] == 0)
    sound[zero] &= embeddings[zero].any(axis=1)
    return similarities, sound


def _score_all(compiled: CompiledPolicy, halves: list[tuple[Indices, int]], similarities: Floats) -> Floats:
    """Return unsafe and safe scores of views -> [rows, C, 2]. Overwrites the similarities."""
    logits = np.multiply(similarities, np.float32(compiled.scale), out=similarities)
    logits += np.float32(compiled.bias)
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


def _allowed(unsafe: Floats, safe: Floats, views: Sequence[View] | None) -> Scores:
    nothing = np.empty((len(unsafe), 0), dtype=np.float32)
    scores = Scores(unsafe, safe, nothing, nothing)
    return scores if views is None else with_allowance(scores, views)


def _worst(
    compiled: CompiledPolicy, scores: Scores, starts: Indices, exact: bool = False
) -> tuple[Floats, Levels, NDArray[np.bool_]]:
    """Return scores and levels of the worst views [n, C], and which levels may differ from the judge's [n].

    One view that is not sound makes its image not computable.
    """
    # A score moves by at most a quarter of its logits.
    margin = np.float32(0 if exact else _SIMILARITY_ERROR * (1 + abs(compiled.scale) + abs(compiled.bias)))
    levels = severities(compiled.layout, _moved(scores, margin))
    lower = levels if exact else severities(compiled.layout, _moved(scores, -margin))
    near = (levels != lower).any(axis=1)
    unsafe = scores.unsafe
    spoilt = ~np.isfinite(unsafe).all(axis=1)
    if len(unsafe) != len(starts) - 1:
        firsts = starts[:-1]
        near, spoilt = (np.logical_or.reduceat(flags, firsts) for flags in (near, spoilt))
        # The severest view, then the highest score.
        worst = np.maximum.reduceat(levels + np.nan_to_num(unsafe) * 0.5, firsts, axis=0)
        levels = np.minimum(worst.astype(np.int64), 2)
        unsafe = ((worst - levels) * 2).astype(np.float32)
    levels[spoilt] = NOT_COMPUTABLE
    return unsafe, levels.astype(np.int8), near & ~spoilt


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
        stack = block.embeddings[rows].reshape(len(those), count, -1)
        similarities = np.matmul(stack, compiled.matrix.T).reshape(len(rows), -1)
        found = score(compiled.layout, similarities, compiled.scale, compiled.bias)
        views = None if block.views is None else [block.views[row] for row in rows.tolist()]
        allowed = _allowed(found.unsafe, found.safe, views)
        starts = np.arange(len(those) + 1) * count
        scores[those], levels[those], _ = _worst(compiled, allowed, starts, exact=True)
    return scores, levels
