"""Split labelled images at random, alike by label and source, with copies of a picture on one side. Pure."""

from collections.abc import Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]

#: Columns that say where an image comes from; the first one found counts.
SOURCE_COLUMNS = ("source", "source_repo", "dataset")
#: Cosine from which two pictures count as copies, such as neighbouring frames of a film. Apart, they would make every
#: estimate too good.
COPY_COSINE_MIN = 0.995
#: Rows that are compared with all others at once; bounds memory.
_COMPARED_AT_ONCE = 1024


def strata_of(shows: Sequence[Set[str]], columns: Mapping[str, Sequence[str]]) -> NDArray[np.str_]:
    """Return what each image is alike in: its categories and its source, str [n]."""
    source = next((columns[name] for name in SOURCE_COLUMNS if name in columns), [""] * len(shows))
    names = ["+".join(sorted(shown)) + "|" + place for shown, place in zip(shows, source, strict=True)]
    return np.array(names, dtype=np.str_)


def copies_of(embeddings: NDArray[np.floating]) -> Indices:
    """Return the number of the first copy of each picture, int [n]; its own number where it has none before it.

    Args:
        embeddings: [n, dimension], rows of length 1: one view of each image.
    """
    first = np.arange(len(embeddings))
    rows = embeddings.astype(np.float32)
    for at in range(0, len(rows), _COMPARED_AT_ONCE):
        block = rows[at : at + _COMPARED_AT_ONCE] @ rows[: at + _COMPARED_AT_ONCE].T
        for row, column in np.argwhere(np.tril(block >= COPY_COSINE_MIN, at - 1)):
            first[at + row] = min(first[at + row], first[column])
    return first


def deal(strata: NDArray[np.str_], copies: Indices, piles: int, seed: int) -> Indices:
    """Return the pile of each image, int [n]: each stratum is shuffled and dealt to all piles in turn.

    Args:
        strata: str [n].
        copies: int [n]; images of one number go to one pile.
        piles: how many.
        seed: of the shuffle.
    """
    random = np.random.default_rng(seed)
    pile = np.zeros(len(strata), dtype=np.int64)
    heads = np.flatnonzero(copies == np.arange(len(copies)))
    next_ = 0
    for stratum in np.unique(strata):
        members = random.permutation(heads[strata[heads] == stratum])
        pile[members] = (next_ + np.arange(len(members))) % piles
        next_ += len(members)
    return pile[copies]


def choosing_split(strata: NDArray[np.str_], copies: Indices, share: float, seed: int) -> Flags:
    """Return which images are for choosing, bool [n]: `share` of each stratum; the others are for reporting."""
    random = np.random.default_rng(seed)
    chosen = np.zeros(len(strata), dtype=np.bool_)
    heads = np.flatnonzero(copies == np.arange(len(copies)))
    for stratum in np.unique(strata):
        members = random.permutation(heads[strata[heads] == stratum])
        # What is left of rounding falls to either side by chance, or else small strata would all fall to one.
        chosen[members[: int(share * len(members) + random.random())]] = True
    return chosen[copies]
