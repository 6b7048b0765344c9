"""Random policies with random similarities, and what a plain loop makes of them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from moderator.policies.category_schema import Rule
from moderator.policies.schema import Policy
from moderator.scoring.layout import lay_out
from moderator.scoring.rules import Scores, score

PROMPTS = [f"thing {n}" for n in range(12)]
MIDPOINTS = (0.5, 0.02, 0.3, 0.9)
COSINES = st.floats(-1, 1, width=32)


@dataclass(frozen=True)
class Case:
    policy: Policy
    cosines: dict[str, float]
    scale: float
    bias: float

    def scores(self) -> Scores:
        return score(lay_out(self.policy), rows(self.policy, [self.cosines]), self.scale, self.bias)


def rows(policy: Policy, images: list[dict[str, float]]) -> np.ndarray:
    prompts = lay_out(policy).prompts
    return np.array([[image[prompt] for prompt in prompts] for image in images], dtype=np.float32)


def policy(categories: dict[str, Any], safe: tuple[str, ...] = ()) -> Policy:
    return Policy.model_validate({"name": "p", "version": 1, "safe": safe, "categories": categories})


def prompts(least: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(PROMPTS), min_size=least, max_size=5, unique=True)


@st.composite
def cases(
    draw: st.DrawFn,
    rules: tuple[Rule, ...] = tuple(Rule),
    scales: tuple[float, ...] = (1.0, 20.0, 100.0),
    biases: tuple[float, ...] = (0.0, -12.9, 16.5),
    midpoints: tuple[float, ...] = MIDPOINTS,
) -> Case:
    shared = draw(prompts())
    categories = {}
    for n in range(draw(st.integers(1, 4))):
        rule = draw(st.sampled_from(rules))
        needed = 0 if shared or not rule.needs_safe else 1
        categories[f"c{n}"] = {
            "unsafe": draw(prompts(1)),
            "safe": draw(prompts(needed)),
            "rule": rule,
            "block": draw(st.floats(0.01, 1)),
            **({"midpoint": draw(st.sampled_from(midpoints))} if rule.is_relative else {}),
            "view_allowance": draw(st.sampled_from((0.0, 0.25))),
        }
    return Case(
        policy(categories, tuple(shared)),
        dict(zip(PROMPTS, draw(st.lists(COSINES, min_size=12, max_size=12)), strict=True)),
        draw(st.sampled_from(scales)),
        draw(st.sampled_from(biases)),
    )


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def by_hand(case: Case, name: str) -> tuple[float, float]:
    """The unsafe and the safe score of a category: the table in `rules`, in 64 bits, one number at a time."""
    unsafe, safe = _bare(case, name)
    midpoint = case.policy.categories[name].midpoint
    if midpoint == 0.5:
        return unsafe, safe
    moved = unsafe * (1 - midpoint) / (unsafe * (1 - midpoint) + safe * midpoint)
    return moved, 1 - moved


def _bare(case: Case, name: str) -> tuple[float, float]:
    category = case.policy.categories[name]
    safe_prompts = list(dict.fromkeys([*case.policy.safe, *category.safe]))
    unsafe = [case.scale * case.cosines[p] + case.bias for p in category.unsafe]
    safe = [case.scale * case.cosines[p] + case.bias for p in safe_prompts]
    if category.rule is Rule.SIGMOID:
        return max(map(sigmoid, unsafe)), max(map(sigmoid, safe), default=0.0)
    if category.rule is Rule.MARGIN:
        value = sigmoid(max(unsafe) - max(safe))
        return value, 1 - value
    peak = max(unsafe + safe)
    total = sum(math.exp(x - peak) for x in unsafe + safe)
    p_unsafe = [math.exp(x - peak) / total for x in unsafe]
    p_safe = [math.exp(x - peak) / total for x in safe]
    match category.rule:
        case Rule.SOFTMAX_SUM:
            return sum(p_unsafe), sum(p_safe)
        case Rule.SOFTMAX_MEAN:
            return sum(p_unsafe) / len(p_unsafe), sum(p_safe) / len(p_safe)
        case Rule.SOFTMAX_MAX:
            return max(p_unsafe), max(p_safe)
