"""Search the prompts of one category with the rule `softmax-sum`, on arrays of similarities. Pure.

All texts are embedded once. The score of an image is log(sum over unsafe prompts of exp(logit)) minus the same over
safe ones, so to add or remove a prompt is to add or subtract a column: a trial takes microseconds.

A search that looks at enough prompts always finds some that suit its images by chance. So the number of changes is
chosen by cross-validation: a path of best single changes is followed on all folds but one, and its gain is measured on
that one. Changes are accepted only if their gain is beyond chance (`accepted`); if not, the prompts stay.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moderator.tuning.rank_objective import Flags, Floats, separation

#: Most changes of one search.
CHANGES_MAX = 6
#: Least gain of an accepted change, in nats per positive.
GAIN_MIN = 0.01


@dataclass(frozen=True)
class PromptSides:
    """The prompts of a category, as columns of a table. Those in `fixed` are safe prompts that stay."""

    unsafe: tuple[int, ...]
    safe: tuple[int, ...]
    fixed: tuple[int, ...] = ()


@dataclass(frozen=True)
class PromptCandidates:
    """Columns that may become prompts of either side."""

    unsafe: tuple[int, ...]
    safe: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class PromptTable:
    """The logits of T texts in the views of n images."""

    logits: Floats
    """float64 [rows, T]: scale * cosine + bias."""
    starts: NDArray[np.int64]
    """[n + 1] rows starts[i] to starts[i + 1] are the views of image i."""
    allowances: Floats
    """[rows] by how much the log-odds of each view are lowered."""

    def __post_init__(self) -> None:
        shifted = self.logits - self.logits.max(axis=1, keepdims=True)
        object.__setattr__(self, "_weights", np.exp(shifted))

    @property
    def weights(self) -> Floats:
        """Return exp(logit), scaled in each row so that the highest is 1: [rows, T]."""
        weights: Floats = self.__dict__["_weights"]
        return weights

    def subset(self, images: Flags) -> "PromptTable":
        """Return the table of some of the images."""
        rows = np.repeat(images, np.diff(self.starts))
        starts = np.concatenate([[0], np.cumsum(np.diff(self.starts)[images])])
        return PromptTable(self.logits[rows], starts, self.allowances[rows])

    def log_odds(self, sides: PromptSides) -> Floats:
        """Return the log-odds of each image in its worst view, float64 [n]."""
        unsafe, safe = self._sums(sides)
        return self._worst(_ratio(unsafe, safe))[:, 0]

    def _sums(self, sides: PromptSides) -> tuple[Floats, Floats]:
        weights = self.weights
        unsafe = weights[:, list(sides.unsafe)].sum(axis=1, keepdims=True)
        return unsafe, weights[:, [*sides.fixed, *sides.safe]].sum(axis=1, keepdims=True)

    def _worst(self, odds: Floats) -> Floats:
        lowered: Floats = np.maximum.reduceat(odds - self.allowances[:, None], self.starts[:-1], axis=0)
        return lowered

    def trials(
        self, sides: PromptSides, candidates: PromptCandidates
    ) -> Iterator[tuple[list[PromptSides], Floats]]:
        """Yield all sides that are one change away, with the log-odds of the images in each: [n, sides]."""
        unsafe, safe = self._sums(sides)
        weights = self.weights
        taken = {*sides.unsafe, *sides.safe, *sides.fixed}
        if new := [column for column in candidates.unsafe if column not in taken]:
            changed = [replace(sides, unsafe=(*sides.unsafe, column)) for column in new]
            yield changed, self._worst(_ratio(unsafe + weights[:, new], safe))
        if new := [column for column in candidates.safe if column not in taken]:
            changed = [replace(sides, safe=(*sides.safe, column)) for column in new]
            yield changed, self._worst(_ratio(unsafe, safe + weights[:, new]))
        if len(sides.unsafe) > 1:
            changed = [
                replace(sides, unsafe=tuple(c for c in sides.unsafe if c != column))
                for column in sides.unsafe
            ]
            yield changed, self._worst(_ratio(unsafe - weights[:, list(sides.unsafe)], safe))
        if sides.safe and len(sides.safe) + len(sides.fixed) > 1:
            changed = [
                replace(sides, safe=tuple(c for c in sides.safe if c != column)) for column in sides.safe
            ]
            yield changed, self._worst(_ratio(unsafe, safe - weights[:, list(sides.safe)]))


def _ratio(unsafe: Floats, safe: Floats) -> Floats:
    # What a removal leaves may be rounding alone.
    odds: Floats = np.log(np.maximum(unsafe, 1e-12)) - np.log(np.maximum(safe, 1e-12))
    return odds


@dataclass(frozen=True)
class SearchOutcome:
    """The prompts that a search arrived at."""

    sides: PromptSides
    """Those that it started from, if no change was accepted."""
    tried: int
    """How many sets of prompts were compared, cross-validation included."""
    gain: float = 0.0
    """Cross-validated gain, in nats per positive, and its standard error."""
    error: float = 0.0


#: Returns the candidates that some of the images suggest, from a table and truth of these alone.
Proposer = Callable[[PromptTable, Flags, PromptSides], PromptCandidates]


def search_prompts(
    table: PromptTable,
    truth: Flags,
    start: PromptSides,
    propose: Proposer,
    folds: NDArray[np.int64],
    changes_max: int = CHANGES_MAX,
) -> SearchOutcome:
    """Search better prompts for a category, which some of the images show, and some do not.

    Args:
        table: of n images and all texts.
        truth: bool [n], whether each image shows the category.
        start: the prompts of today.
        propose: called for all images, and for all but each fold.
        folds: int [n].
        changes_max: most changes.
    """
    tried = 0
    held_out = np.repeat(table.log_odds(start)[:, None], changes_max + 1, axis=1)
    for fold in np.unique(folds):
        held = folds == fold
        if not truth[~held].any() or truth[~held].all():
            continue
        path, count = follow(table.subset(~held), truth[~held], start, propose, changes_max)
        tried += count
        outside = table.subset(held)
        for step in range(1, changes_max + 1):  # a path that ended early stays where it ended
            held_out[held, step] = outside.log_odds(path[min(step, len(path) - 1)])
    quality = separation(held_out, truth)
    steps, mean, error = accepted(quality - quality[:, :1])
    if steps == 0:
        return SearchOutcome(start, tried)
    path, count = follow(table, truth, start, propose, steps)
    return SearchOutcome(path[-1], tried + count, mean, error)


def accepted(differences: Floats) -> tuple[int, float, float]:
    """Return which of several changes is accepted, its mean gain and the standard error; 0: none.

    A gain has to exceed its standard error by the factor sqrt(2 log changes), which the best of as many random gains
    seldom does (Donoho and Johnstone, 1994).

    Args:
        differences: [positives, changes], gain of each positive outside the images that chose; column 0 is no change.
    """
    count, changes = differences.shape
    mean = differences.mean(axis=0)
    error = differences.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else mean * np.inf
    certain = np.where(mean >= GAIN_MIN, mean - np.sqrt(2 * np.log(changes)) * error, 0)
    certain[0] = 0
    best = int(np.argmax(certain)) if certain.max() > 0 else 0
    return best, float(mean[best]), float(error[best])


def follow(
    table: PromptTable, truth: Flags, start: PromptSides, propose: Proposer, changes_max: int
) -> tuple[list[PromptSides], int]:
    """Return the path of best single changes, from no change on, and how many sets of prompts were compared."""
    candidates = propose(table, truth, start)
    path, tried = [start], 0
    best = float(separation(table.log_odds(start)[:, None], truth).mean())
    for _ in range(changes_max):
        options = []
        for changed, odds in table.trials(path[-1], candidates):
            quality = separation(odds, truth).mean(axis=0)
            top = int(np.argmax(quality))
            options.append((float(quality[top]), changed[top]))
            tried += len(changed)
        quality_, sides = max(options, key=lambda option: option[0])
        if quality_ <= best:
            break
        best = quality_
        path.append(sides)
    return path, tried
