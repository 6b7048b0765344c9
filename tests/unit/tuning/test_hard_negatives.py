"""Hard negatives: near to what is not allowed, and something else."""

import numpy as np

from moderator.scoring.rules import Floats
from moderator.tuning.hard_negatives import propose_hard_negatives, synonym_likeness
from moderator.tuning.vocabulary import Vocabulary, likeness, typical_cosine

#: Each text points to the first axis, "gun", by its cosine, and has an axis of its own.
TEXTS = {
    "a revolver": (0.9, "a weapon"),
    "a cannon": (0.5, "a weapon"),
    "a power drill": (0.6, "a tool"),
    "a drill": (0.59, "a tool"),
    "a water pistol": (0.55, ""),
    "a chair": (0.1, "furniture"),
    "a plate": (-0.4, "kitchenware"),
}
SIZE = len(TEXTS) + 1


def row(cosine: float, axis: int) -> list[float]:
    values = np.zeros(SIZE)
    values[0], values[axis] = cosine, np.sqrt(1 - cosine**2)
    return values.tolist()


def vocabulary() -> Vocabulary:
    matrix = np.array([row(cosine, n) for n, (cosine, _) in enumerate(TEXTS.values(), 1)], dtype=np.float32)
    matrix[3] = matrix[2]  # the drill is a power drill
    kinds = tuple(frozenset([kind] if kind else []) for _, kind in TEXTS.values())
    return Vocabulary(tuple(TEXTS), kinds, matrix)


GUN: Floats = np.eye(1, SIZE, dtype=np.float32)
NONE: Floats = np.empty((0, SIZE), dtype=np.float32)


def test_the_nearest_that_are_neither_synonyms_nor_twins_come_first() -> None:
    proposed = propose_hard_negatives(["a gun"], GUN, NONE, vocabulary(), 8)
    assert proposed == ["a power drill", "a water pistol"], "the cannon is of the kind of the revolver"
    assert propose_hard_negatives(["a gun"], GUN, NONE, vocabulary(), 1) == ["a power drill"]


def test_what_is_safe_already_is_not_proposed_again() -> None:
    safe = vocabulary().matrix[2:3]
    assert propose_hard_negatives(["a gun"], GUN, safe, vocabulary(), 8) == ["a water pistol"]


def test_the_kinds_that_a_prompt_names_are_left_out() -> None:
    assert propose_hard_negatives(["any tool"], GUN, NONE, vocabulary(), 8) == ["a water pistol"]


def test_prompts_that_are_alike_leave_less_to_synonyms() -> None:
    alike = np.array([row(0.95, 1), row(0.95, 2)], dtype=np.float32)
    apart = np.array([row(0.5, 1), row(0.5, 2)], dtype=np.float32)
    assert synonym_likeness(alike, 0.0) == 0.65
    assert synonym_likeness(apart, 0.0) == 0.4
    assert synonym_likeness(GUN, 0.0) == 0.65


def test_likeness_is_0_for_a_typical_pair_and_1_for_the_same_text() -> None:
    matrix = np.array([[1, 0], [0.6, 0.8], [0, 1]], dtype=np.float32)
    typical = typical_cosine(matrix)
    np.testing.assert_allclose(typical, (0.6 + 0.8 + 0) / 3, rtol=1e-6)
    np.testing.assert_allclose(likeness(np.array([typical, 1], dtype=np.float32), typical), [0, 1], atol=1e-6)
