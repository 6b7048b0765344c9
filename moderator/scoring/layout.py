"""Lay out a policy's prompts in arrays, so that all categories are scored at once.

Every distinct prompt is one row of the compiled matrix. A category uses some of the rows: first its unsafe
prompts, then the safe ones (the policy's and its own). The rows of all categories are concatenated into one
long `gather` index whose segments `reduceat` can sum, so the cost of scoring grows with the number of
prompts and never with a Python loop over categories.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.policies.category_schema import Category, Rule
from moderator.policies.schema import Policy

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Layout:
    """Index arrays of one policy: C categories with prompts, P distinct prompts, T (category, prompt) pairs."""

    specs: Mapping[str, Category]
    """All categories of the policy, also those without prompts, with the thresholds that apply on the encoder."""
    prompts: tuple[str, ...]
    """The P distinct prompts, in order of first use."""
    categories: tuple[str, ...]
    gather: Indices
    """[T] row of the similarity matrix; P (one past the end) stands for "no prompt" and scores nothing."""
    halves: Indices
    """[2C] start in `gather` of each category's unsafe and safe half, in turn. No half is empty."""
    starts: Indices
    """[C] start in `gather` of each category."""
    category: Indices
    """[T] category of each pair."""
    unsafe: NDArray[np.bool_]
    """[T] whether each pair is on the unsafe side."""
    sizes: NDArray[np.float32]
    """[C, 2] number of unsafe and safe prompts."""
    rules: dict[Rule, Indices]
    """The categories that use each rule."""
    midpoint: NDArray[np.float32]
    """[C] score of the bare rule that counts as 0.5."""
    view_allowance: NDArray[np.float32]
    """[C] logits by which scores of parts of a picture are lowered, beyond what holds for all."""
    review: NDArray[np.float64]
    """[C] score from which an image goes to review; infinite if a category has no such band."""
    block: NDArray[np.float64]
    """[C] score from which an image is blocked; infinite if a category never blocks."""


def lay_out(policy: Policy, specs: Mapping[str, Category] | None = None) -> Layout:
    """Build the index arrays of a policy.

    Args:
        policy: a valid one.
        specs: its categories with the thresholds that apply on an encoder; default: those without `encoders`.
    """
    specs = policy.categories if specs is None else specs
    rows: dict[str, int] = {}
    gather: list[int] = []
    halves: list[int] = []
    category: list[int] = []
    unsafe: list[bool] = []
    sizes: list[tuple[int, int]] = []
    rules: dict[Rule, list[int]] = {}
    # Categories that take their score from elsewhere are not part of the arrays.
    categories = {name: spec for name, spec in specs.items() if spec.has_prompts}
    for number, spec in enumerate(categories.values()):
        # A safe prompt in both the policy's list and the category's counts once.
        sides = (spec.unsafe, tuple(dict.fromkeys((*policy.safe, *spec.safe))))
        for side, prompts in enumerate(sides):
            halves.append(len(gather))
            for prompt in prompts:
                gather.append(rows.setdefault(prompt, len(rows)))
            if not prompts:
                gather.append(-1)
            added = len(gather) - len(category)
            category += [number] * added
            unsafe += [side == 0] * added
        sizes.append((len(sides[0]), len(sides[1])))
        rules.setdefault(spec.rule, []).append(number)
    index = np.array(gather, dtype=np.int64)
    index[index < 0] = len(rows)
    listed = categories.values()
    return Layout(
        specs=specs,
        prompts=tuple(rows),
        categories=tuple(categories),
        gather=index,
        halves=np.array(halves, dtype=np.int64),
        starts=np.array(halves[::2], dtype=np.int64),
        category=np.array(category, dtype=np.int64),
        unsafe=np.array(unsafe, dtype=np.bool_),
        sizes=np.array(sizes, dtype=np.float32),
        rules={rule: np.array(numbers, dtype=np.int64) for rule, numbers in rules.items()},
        midpoint=np.array([s.midpoint for s in listed], dtype=np.float32),
        view_allowance=np.array([s.view_allowance for s in listed], dtype=np.float32),
        review=np.array([np.inf if s.review is None else s.review for s in listed], dtype=np.float64),
        block=np.array([s.block for s in listed], dtype=np.float64),
    )
