"""Judge scores: compare them with thresholds, pick the worst view, and name the prompts that explain it."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moderator.errors import EmbeddingInvalid
from moderator.policies.category_schema import Category, Rule
from moderator.policies.schema import Policy
from moderator.scoring.allowance import with_allowance
from moderator.scoring.final_scores import final_levels, final_scores, unsure_categories
from moderator.scoring.layout import Layout
from moderator.scoring.rules import Floats, Scores, score
from moderator.scoring.score_plan import ScorePlan, plan_scores
from moderator.verdicts import CategoryVerdict, Decision, TopPrompt
from moderator.view import View

TOP_PROMPTS = 3
_NO_SIGNALS: Mapping[str, float] = MappingProxyType({})
SEVERITY = (Decision.ALLOW, Decision.REVIEW, Decision.BLOCK)


@dataclass(frozen=True, eq=False)
class CompiledPolicy:
    """A policy's prompts embedded by one encoder: ready for scoring."""

    policy: Policy
    layout: Layout
    matrix: Floats
    """[P, dimension] one row of length 1 per prompt of the layout."""
    scale: float
    bias: float

    @property
    def categories(self) -> Mapping[str, Category]:
        """All categories, in the policy's order, with the thresholds that apply on the encoder."""
        return self.layout.specs

    @cached_property
    def plan(self) -> ScorePlan:
        """How the final scores come about."""
        return plan_scores(self.layout.specs)


@dataclass(frozen=True)
class Judgement:
    """The result of one policy for one image."""

    decision: Decision
    safe_score: float
    unsafe_score: float
    categories: dict[str, CategoryVerdict]

    @property
    def is_safe(self) -> bool:
        """Whether the image may be shown without human review."""
        return self.decision is Decision.ALLOW


def severities(layout: Layout, scores: Scores) -> NDArray[np.int64]:
    """Return the outcome of the thresholds: int [n, C], an index into `SEVERITY`.

    In `softmax-mean` categories the classic recipe also requires the safe score to be the greater one:
    is_safe = safe > unsafe and unsafe < block. If such a category never blocks, the image goes to review instead.
    """
    blocked = scores.unsafe >= layout.block
    review = scores.unsafe >= layout.review
    classic = layout.rules.get(Rule.SOFTMAX_MEAN)
    if classic is not None:
        unsafe = scores.unsafe[:, classic] >= scores.safe[:, classic]
        blocked[:, classic] |= unsafe & np.isfinite(layout.block[classic])
        review[:, classic] |= unsafe & np.isfinite(layout.review[classic])
    return np.where(blocked, 2, np.where(review, 1, 0))


def judge(
    compiled: CompiledPolicy,
    embeddings: Floats,
    signals: Mapping[str, float] = _NO_SIGNALS,
    unsure: Set[str] = frozenset(),
    views: Sequence[View] = (),
    unasked: Set[str] = frozenset(),
) -> Judgement:
    """Judge one image by the embeddings of its views: in each category with prompts the worst view decides.

    Args:
        compiled: the policy, ready for scoring.
        embeddings: float32 [views, dimension], rows of length 1.
        signals: score of each signal of the policy, in its worst frame.
        unsure: the signals whose categories go to review unless they block.
        views: what each row shows; without it, each is a whole frame.
        unasked: the signals that are only read if the image goes to review: no condition relies on what they deny.

    Raises:
        EmbeddingInvalid: an embedding is not finite or is zero, or a score from it is not finite.
    """
    if not np.isfinite(embeddings).all() or not embeddings.any(axis=1).all():
        raise EmbeddingInvalid(
            "the model returned NaN, infinity or zero for this image; try MODERATOR_DTYPE=float32, "
            "and check the weights"
        )
    plan, found = compiled.plan, _judge_prompts(compiled, embeddings, views)
    flags = unsure_categories(plan, dict.fromkeys(unsure, True))
    bounds = unsure_categories(plan, dict.fromkeys(unsure | unasked, True)) if unasked else flags
    scores = final_scores(plan, found.unsafe[None], signals, bounds)
    levels = final_levels(plan, scores, found.levels[None], flags)[0]
    scores = scores[0]
    if not np.isfinite(scores).all():  # NaN would stay below every threshold
        raise EmbeddingInvalid(
            f"the scores of {compiled.policy.reference} are not finite; remove the compiled policies in the cache, and "
            "check the weights"
        )
    top = int(np.argmax(levels + scores * 0.5))
    safe = 1 - scores
    safe[plan.prompts[plan.bare]] = found.safe[plan.bare]
    explained = dict(
        zip(compiled.layout.categories, zip(found.explained, found.views, strict=True), strict=True)
    )
    nothing: tuple[tuple[TopPrompt, ...], View | None] = ((), None)
    return Judgement(
        decision=SEVERITY[levels[top]],
        safe_score=float(safe[top]),
        unsafe_score=float(scores[top]),
        categories={
            name: CategoryVerdict(value, SEVERITY[level], *explained.get(name, nothing))
            for name, value, level in zip(plan.categories, scores.tolist(), levels.tolist(), strict=True)
        },
    )


def severest(categories: Mapping[str, CategoryVerdict]) -> tuple[str, CategoryVerdict]:
    """Return the category that decides: of the severest decision, then of the highest score."""
    return max(categories.items(), key=lambda c: SEVERITY.index(c[1].decision) + c[1].score * 0.5)


@dataclass(frozen=True, eq=False)
class _ByPrompts:
    """The K categories with prompts, each in its worst view."""

    unsafe: Floats
    safe: Floats
    levels: NDArray[np.int64]
    explained: Sequence[tuple[TopPrompt, ...]]
    views: Sequence[View | None]


def _judge_prompts(compiled: CompiledPolicy, embeddings: Floats, views: Sequence[View]) -> _ByPrompts:
    layout = compiled.layout
    if not layout.categories:
        nothing = np.zeros(0, dtype=np.float32)
        return _ByPrompts(nothing, nothing, np.zeros(0, dtype=np.int64), (), ())
    scores = score(layout, embeddings @ compiled.matrix.T, compiled.scale, compiled.bias)
    if views:
        scores = with_allowance(scores, views, layout.view_allowance)
    levels = severities(layout, scores)
    worst = np.argmax(levels + scores.unsafe * 0.5, axis=0)  # the severest view, then the highest score
    numbers = np.arange(len(layout.categories))
    return _ByPrompts(
        scores.unsafe[worst, numbers],
        scores.safe[worst, numbers],
        levels[worst, numbers],
        top_prompts(layout, scores, worst),
        [_named(views, row) for row in worst.tolist()],
    )


def _named(views: Sequence[View], row: int) -> View | None:
    """Return the view that a verdict names: none for a whole picture."""
    return None if not views or views[row].is_whole else views[row]


def top_prompts(layout: Layout, scores: Scores, rows: NDArray[np.int64]) -> list[tuple[TopPrompt, ...]]:
    """Return the most probable prompts of each category in the view that decided it, most probable first.

    Args:
        layout: index arrays with C categories and T pairs.
        scores: of all views.
        rows: int [C], the view to explain in each category.
    """
    pairs = np.arange(len(layout.gather))
    probability = scores.probability[rows[layout.category], pairs]
    similarity = scores.similarity[rows[layout.category], pairs]
    # Within a category, both give the same order, but only the similarity never underflows.
    order = np.lexsort((-similarity, layout.category))
    leading = pairs - layout.starts[layout.category[order]] < TOP_PROMPTS
    best = order[leading & (layout.gather[order] < len(layout.prompts))]
    explained: list[list[TopPrompt]] = [[] for _ in layout.categories]
    for category, row, unsafe, near, likely in zip(
        layout.category[best].tolist(),
        layout.gather[best].tolist(),
        layout.unsafe[best].tolist(),
        similarity[best].tolist(),
        probability[best].tolist(),
        strict=True,
    ):
        side = "unsafe" if unsafe else "safe"
        explained[category].append(TopPrompt(layout.prompts[row], side, near, likely))
    return [tuple(prompts) for prompts in explained]
