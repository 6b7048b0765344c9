"""Propose hard negatives: what is near to what is not allowed, and is not the same. Pure.

The safe prompts beside which a category's unsafe ones are scored decide what is mistaken for them. The best are those
that the encoder finds near to them.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from moderator.scoring.rules import Floats
from moderator.tuning.vocabulary import Vocabulary, likeness, typical_cosine

#: A text that is more alike to an unsafe prompt than its other unsafe prompts are counts as a synonym; within these.
SYNONYM_LIKENESS_MIN, SYNONYM_LIKENESS_MAX = 0.4, 0.65
#: What is less alike than this has nothing to do with a prompt.
NEAR_LIKENESS_MIN = 0.1
#: Two texts that are more alike than this are not both proposed.
SAME_LIKENESS = 0.6
#: Share of the things of a kind that are synonyms from which all of that kind are.
SYNONYMS_OF_KIND_MIN = 1 / 5

_WORD = re.compile(r"\w+")


def propose_hard_negatives(
    prompts: Sequence[str], unsafe: Floats, safe: Floats, vocabulary: Vocabulary, count: int
) -> list[str]:
    """Return texts of a vocabulary that are near to unsafe prompts and no synonyms of them, the nearest first.

    Args:
        prompts: the u unsafe prompts of a category, at least one.
        unsafe: their embeddings, float32 [u, dimension], rows of length 1.
        safe: those of the safe prompts that it has already, [s, dimension].
        vocabulary: where they come from.
        count: how many at most.
    """
    matrix = vocabulary.matrix
    typical = typical_cosine(matrix)
    near = likeness(matrix @ unsafe.T, typical).max(axis=1)
    synonyms = near >= synonym_likeness(unsafe, typical)
    excluded = _synonymous_kinds(prompts, vocabulary.kinds, np.flatnonzero(synonyms).tolist())
    taken = list(safe)
    proposed: list[str] = []
    for row in np.argsort(-near, kind="stable").tolist():
        if len(proposed) >= count or near[row] < NEAR_LIKENESS_MIN:
            break
        if synonyms[row] or vocabulary.kinds[row] & excluded:
            continue
        if taken and likeness(np.stack(taken) @ matrix[row], typical).max() >= SAME_LIKENESS:
            continue
        taken.append(matrix[row])
        proposed.append(vocabulary.texts[row])
    return proposed


def synonym_likeness(unsafe: Floats, typical: float) -> float:
    """Return the likeness to an unsafe prompt from which a text means the same: as alike as these are to each other."""
    own = likeness(unsafe @ unsafe.T, typical)
    np.fill_diagonal(own, -np.inf)
    closest = own.max(axis=1)
    among = float(np.median(closest)) if len(unsafe) > 1 else SYNONYM_LIKENESS_MAX
    return float(np.clip(among, SYNONYM_LIKENESS_MIN, SYNONYM_LIKENESS_MAX))


def _synonymous_kinds(
    prompts: Sequence[str], kinds: Sequence[frozenset[str]], synonyms: Sequence[int]
) -> set[str]:
    """Return the kinds of thing that a prompt names, and those of which many are synonyms.

    So if the rifle and the revolver are synonyms, all weapons are.
    """
    words = {word for prompt in prompts for word in _WORD.findall(prompt.casefold())}
    members = Counter(kind for several in kinds for kind in several)
    named = {kind for kind in members if _WORD.findall(kind.casefold())[-1] in words}
    rows = {*synonyms, *(row for row, several in enumerate(kinds) if several & named)}
    hits = Counter(kind for row in rows for kind in kinds[row])
    return named | {kind for kind, count in hits.items() if count >= SYNONYMS_OF_KIND_MIN * members[kind]}
