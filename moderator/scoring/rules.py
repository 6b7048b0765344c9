"""Score similarities: one unsafe and one safe score per category, by the policy's rule.

With logits l = scale * cosine + bias over a category's prompts, unsafe U and safe S, and p = softmax(l):

| rule         | unsafe score             | safe score               |
| ------------ | ------------------------ | ------------------------ |
| softmax-mean | mean of p over U         | mean of p over S         |
| softmax-sum  | sum of p over U          | sum of p over S          |
| softmax-max  | max of p over U          | max of p over S          |
| sigmoid      | max of sigmoid(l) over U | max of sigmoid(l) over S |
| margin       | sigmoid(max l_U - max l_S) | 1 - the same           |

A category's midpoint m moves its score s along the log-odds, so that m becomes 0.5:
logit(s') = logit(s) - logit(m). This is what another prior of the unsafe side does to a posterior (Saerens et al.,
2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities", eq. 2.4).

`softmax-mean` is the classic zero-shot recipe (Radford et al., 2021, "Learning Transferable Visual Models
From Natural Language Supervision", section 3.1, with the mean over each prompt set). `sigmoid` is the
SigLIP reading of a pair (Zhai et al., 2023, "Sigmoid Loss for Language Image Pre-Training").
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.policies.category_schema import Rule
from moderator.policies.fields import NO_SHIFT
from moderator.scoring.layout import Layout

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of n images in C categories, and the values that explain them for each (category, prompt) pair."""

    unsafe: Floats
    """[n, C] in [0, 1]."""
    safe: Floats
    """[n, C] in [0, 1]."""
    similarity: Floats
    """[n, T] cosine; -1 for "no prompt"."""
    probability: Floats
    """[n, T] sigmoid(l) in `sigmoid` categories, softmax over the category's prompts in the others; no midpoint."""


def sigmoid(logits: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)), without overflow."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return result


def score(layout: Layout, similarities: Floats, scale: float, bias: float) -> Scores:
    """Score images against one policy.

    Args:
        layout: index arrays of the policy, with P prompts.
        similarities: float32 [n, P], cosine of each image with each prompt.
        scale: factor from cosine to logit.
        bias: added to each logit.
    """
    count, categories = len(similarities), len(layout.categories)
    nothing = np.full((count, 1), -np.inf, dtype=np.float32)
    cosine = np.concatenate([similarities, nothing], axis=1)[:, layout.gather]
    logits = np.float32(scale) * cosine + np.float32(bias)

    top = np.maximum.reduceat(logits, layout.halves, axis=1).reshape(count, categories, 2)
    peak = top.max(axis=2)
    weights = np.exp(logits - peak[:, layout.category])
    sums = np.add.reduceat(weights, layout.halves, axis=1).reshape(count, categories, 2)
    total = sums.sum(axis=2)

    both = rule_scores(layout, top, sums)
    probability = weights / total[:, layout.category]
    if (sigmoids := layout.rules.get(Rule.SIGMOID)) is not None:
        pairs = np.isin(layout.category, sigmoids)
        probability[:, pairs] = sigmoid(logits[:, pairs])
    return Scores(
        unsafe=both[..., 0],
        safe=both[..., 1],
        similarity=np.maximum(cosine, -1),
        probability=probability,
    )


def rule_scores(layout: Layout, top: Floats, sums: Floats) -> Floats:
    """Apply the rules and midpoints of a policy -> float32 [n, C, 2], unsafe and safe scores in [0, 1].

    Args:
        layout: index arrays of the policy, with C categories.
        top: float32 [n, C, 2], the highest logit of each category's unsafe and safe half; -inf: it is empty.
        sums: float32 [n, C, 2], sum over the half of exp(logit - highest logit of both halves).
    """
    peak, total = top.max(axis=2), sums.sum(axis=2)
    both = np.empty_like(sums)
    for rule, which in layout.rules.items():
        match rule:
            case Rule.SOFTMAX_MEAN:
                sizes = np.maximum(layout.sizes[which], 1)
                both[:, which] = sums[:, which] / total[:, which, None] / sizes
            case Rule.SOFTMAX_SUM:
                both[:, which] = sums[:, which] / total[:, which, None]
            case Rule.SOFTMAX_MAX:
                both[:, which] = np.exp(top[:, which] - peak[:, which, None]) / total[:, which, None]
            case Rule.SIGMOID:
                both[:, which] = sigmoid(top[:, which])
            case Rule.MARGIN:
                unsafe = sigmoid(top[:, which, 0] - top[:, which, 1])
                both[:, which] = np.stack([unsafe, 1 - unsafe], axis=-1)
    moved = np.flatnonzero(layout.midpoint != NO_SHIFT)
    if moved.size:
        odds = both[:, moved] * np.stack([1 - layout.midpoint[moved], layout.midpoint[moved]], axis=-1)
        both[:, moved] = odds / odds.sum(axis=-1, keepdims=True)
    # Sums of rounded probabilities may exceed 1 by an ulp.
    clipped: Floats = np.clip(both, 0, 1)
    return clipped
