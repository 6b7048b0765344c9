"""Judge scores: compare them with thresholds, pick the worst view, and name the prompts that explain it."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moderator.errors import EmbeddingInvalid
from moderator.policies.category_schema import Category, Rule
from moderator.policies.schema import Policy
from moderator.scoring.allowance import with_allowance
from moderator.scoring.layout import Layout
from moderator.scoring.rules import Floats, Scores, score
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
) -> Judgement:
    """Judge one image by the embeddings of its views: in each category the worst view decides.

    Args:
        compiled: the policy, ready for scoring.
        embeddings: float32 [views, dimension], rows of length 1.
        signals: score of each signal of the policy, in its worst frame.
        unsure: the signals whose categories go to review unless they block.
        views: what each row shows; without it, each is a whole frame.

    Raises:
        EmbeddingInvalid: an embedding is not finite or is zero, or a score from it is not finite.
    """
    if not np.isfinite(embeddings).all() or not embeddings.any(axis=1).all():
        raise EmbeddingInvalid(
            "the model returned NaN, infinity or zero for this image; try MODERATOR_DTYPE=float32, "
            "and check the weights"
        )
    if not compiled.policy.signals:
        return _judge_prompts(compiled, embeddings, views)
    judged = _judge_prompts(compiled, embeddings, views) if compiled.layout.categories else None
    return _with_signals(compiled.policy, judged, signals, unsure)


def _with_signals(
    policy: Policy, judged: Judgement | None, signals: Mapping[str, float], unsure: Set[str]
) -> Judgement:
    """Join the categories scored by prompts with those scored by signals; the severest decides."""
    categories: dict[str, CategoryVerdict] = {}
    for name, spec in policy.categories.items():
        if spec.signal is None:
            assert judged is not None
            categories[name] = judged.categories[name]
            continue
        categories[name] = signal_verdict(spec, signals[spec.signal], spec.signal in unsure)
    name, top = severest(categories)
    by_prompts = judged is not None and policy.categories[name].signal is None
    return Judgement(
        decision=top.decision,
        safe_score=judged.safe_score if judged is not None and by_prompts else 1 - top.score,
        unsafe_score=top.score,
        categories=categories,
    )


def signal_verdict(category: Category, value: float, unsure: bool) -> CategoryVerdict:
    """Return the verdict of a category that takes its score from a signal."""
    looked_at = unsure or (category.review is not None and value >= category.review)
    level = 2 if value >= category.block else 1 if looked_at else 0
    return CategoryVerdict(score=value, decision=SEVERITY[level])


def severest(categories: Mapping[str, CategoryVerdict]) -> tuple[str, CategoryVerdict]:
    """Return the category that decides: of the severest decision, then of the highest score."""
    return max(categories.items(), key=lambda c: SEVERITY.index(c[1].decision) + c[1].score * 0.5)


def _judge_prompts(compiled: CompiledPolicy, embeddings: Floats, views: Sequence[View]) -> Judgement:
    layout = compiled.layout
    scores = score(layout, embeddings @ compiled.matrix.T, compiled.scale, compiled.bias)
    if views:
        scores = with_allowance(scores, views)
    if not np.isfinite(scores.unsafe).all():  # NaN would stay below every threshold
        raise EmbeddingInvalid(
            f"the scores of {compiled.policy.reference} are not finite; remove the compiled policies in the cache, and "
            "check the weights"
        )
    levels = severities(layout, scores)
    worst = np.argmax(levels + scores.unsafe * 0.5, axis=0)  # the severest view, then the highest score
    numbers = np.arange(len(layout.categories))
    level, unsafe = levels[worst, numbers], scores.unsafe[worst, numbers]
    explained = top_prompts(layout, scores, worst)
    top = int(np.argmax(level + unsafe * 0.5))
    return Judgement(
        decision=SEVERITY[level[top]],
        safe_score=float(scores.safe[worst[top], top]),
        unsafe_score=float(unsafe[top]),
        categories={
            name: CategoryVerdict(
                score=value, decision=SEVERITY[severity], top_prompts=prompts, view=_named(views, row)
            )
            for name, value, severity, prompts, row in zip(
                layout.categories, unsafe.tolist(), level.tolist(), explained, worst.tolist(), strict=True
            )
        },
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
