"""Learn a probe for a category from labelled examples, to be joined with the score of its words. Pure.

The probe is logistic regression on the embeddings (Radford et al., 2021, section 3.2). In an image that does not show
the category, no view does; in one that does, the whole shows it, and parts may not. So all views of the former are
examples, and only the whole of the latter: at work, the highest view counts. The variants of both are examples, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.identity import Identity
from moderator.signals.kinds.linear_probe import Probe
from moderator.tuning.prompt_search import accepted
from moderator.tuning.rank_objective import separation

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: Direction [d] and offset of a probe.
Fit = tuple[Floats, float]

#: Label of what does not show the category, in the file of a probe.
OTHER_LABEL = "other"
#: Inverse L2 strengths and weights that are tried. The first of each are taken unless others are better beyond chance:
#: to take the best by chance costs about half a point of recall.
STRENGTHS = (30.0, 10.0, 100.0, 300.0)
WEIGHTS = (0.5, 0.25, 0.75)
#: Fewest examples of a category that a probe is learnt from.
EXAMPLES_MIN = 8
_NEWTON_STEPS_MAX = 30


@dataclass(frozen=True, eq=False)
class ViewRows:
    """The views of n images: `embeddings` [rows, dimension], with rows starts[i] to starts[i + 1] of image i."""

    embeddings: Floats
    starts: NDArray[np.int64]
    variants: Floats | None = None
    """[n, v, dimension], only to learn from."""

    @property
    def image(self) -> NDArray[np.int64]:
        """Return the image of each row."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def subset(self, images: Flags) -> "ViewRows":
        """Return the views of some of the images."""
        counts = np.diff(self.starts)
        starts = np.concatenate([[0], np.cumsum(counts[images])])
        variants = None if self.variants is None else self.variants[images]
        return ViewRows(self.embeddings[np.repeat(images, counts)], starts, variants)


@dataclass(frozen=True, eq=False)
class FewShot:
    """A learnt probe: logit = embedding . `direction` + `offset`, joined with the words' by `weight`."""

    direction: Floats
    offset: float
    strength: float
    weight: float

    def log_odds(self, rows: ViewRows) -> Floats:
        """Return the log-odds of each image, float64 [n]: those of its highest view."""
        return _highest(rows, self.direction, self.offset)

    def joined(self, rows: ViewRows, words: Floats) -> Floats:
        """Return the words' log-odds joined with the probe's, float64 [n]."""
        return (1 - self.weight) * words + self.weight * self.log_odds(rows)

    def as_probe(self, category: str, identity: Identity) -> Probe:
        """Return the probe in the form of its file, with the labels `category` and `other`."""
        half = self.direction.astype(np.float32) / 2
        bias = np.array([self.offset / 2, -self.offset / 2], dtype=np.float32)
        return Probe(
            (category, OTHER_LABEL), np.stack([half, -half], dtype=np.float32), bias, identity, self.strength
        )


def learn(rows: ViewRows, truth: Flags, words: Floats, folds: NDArray[np.int64]) -> tuple[FewShot, int]:
    """Learn a probe; return it, and how many combinations of strength and weight were tried.

    Strength and weight are those that separate images best which the probe was not learnt from, if they are
    accepted in place of the usual ones.

    Args:
        rows: of n images.
        truth: bool [n], whether each shows the category.
        words: float64 [n], log-odds of the words.
        folds: int [n].
    """
    held = cross_fitted(rows, truth, folds)
    tried = [(strength, weight) for strength in STRENGTHS for weight in WEIGHTS]
    joined = np.stack(
        [(1 - weight) * words + weight * held[STRENGTHS.index(strength)] for strength, weight in tried],
        axis=1,
    )
    quality = separation(joined, truth)
    strength, weight = tried[accepted(quality - quality[:, :1])[0]]
    direction, offset = fit(rows, truth, strength)
    return FewShot(direction, offset, strength, weight), len(tried)


def cross_fitted(rows: ViewRows, truth: Flags, folds: NDArray[np.int64]) -> list[Floats]:
    """Return for each strength the log-odds of each image by a probe that was learnt without its fold, [n]."""
    result = [np.zeros(len(truth)) for _ in STRENGTHS]
    for fold in np.unique(folds):
        held = folds == fold
        fitted = None
        for number, strength in enumerate(STRENGTHS):
            fitted = fit(rows, truth, strength, ~held, fitted)
            result[number][held] = _highest(rows, *fitted)[held]
    return result


def fit(
    rows: ViewRows, truth: Flags, strength: float, images: Flags | None = None, start: Fit | None = None
) -> Fit:
    """Return direction and offset of a probe for some of the images (default: all); `start`: see `fit_logistic`."""
    image = rows.image
    whole = np.zeros(len(image), dtype=np.bool_)
    whole[rows.starts[:-1]] = True
    chosen = np.ones(len(truth), dtype=np.bool_) if images is None else images
    used = (whole | ~truth[image]) & chosen[image]
    features, labels = rows.embeddings[used], truth[image][used]
    if rows.variants is not None:
        variants = rows.variants[chosen]
        features = np.concatenate([features, variants.reshape(-1, variants.shape[2])])
        labels = np.concatenate([labels, np.repeat(truth[chosen], variants.shape[1])])
    return fit_logistic(features, labels, strength, start)


def fit_logistic(features: Floats, truth: Flags, strength: float, start: Fit | None = None) -> Fit:
    """Return weights [d] and bias of logistic regression with both classes of equal weight, by Newton's method.

    Minimises sum(weight * log loss) + |w|^2 / (2 strength). Of fewer examples than dimensions, it is solved for the
    coordinates in their span (the representer theorem). `start`: a fit for the same examples with another strength,
    from which the way is shorter.
    """
    count = len(features)
    basis, coordinates = np.eye(features.shape[1]), features
    if count < features.shape[1]:
        basis, triangle = np.linalg.qr(features.T)
        coordinates = triangle.T
    size = coordinates.shape[1]
    design = np.column_stack([coordinates, np.ones(count)])
    balance = np.where(truth, count / (2 * truth.sum()), count / (2 * (~truth).sum()))
    penalty = np.append(np.full(size, 1 / strength), 1e-9)
    half = design.astype(np.float32)  # precise enough for the way; the gradient says where it ends
    solution = np.zeros(size + 1) if start is None else np.append(start[0] @ basis, start[1])
    for _ in range(_NEWTON_STEPS_MAX):
        p = 1 / (1 + np.exp(-np.clip(design @ solution, -30, 30)))
        gradient = design.T @ (balance * (p - truth)) + penalty * solution
        curvature = np.maximum(balance * p * (1 - p), 1e-9)
        hessian = (half * curvature[:, None].astype(np.float32)).T @ half + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        solution -= step
        if np.abs(step).max() < 1e-4 * (1 + np.abs(solution).max()):
            break
    return basis @ solution[:-1], float(solution[-1])


def _highest(rows: ViewRows, direction: Floats, offset: float) -> Floats:
    odds: Floats = np.maximum.reduceat(rows.embeddings @ direction + offset, rows.starts[:-1])
    return odds


def enough(truth: Flags, folds: Sequence[int] | NDArray[np.int64]) -> bool:
    """Return whether a category has enough examples for a probe, and some outside each fold."""
    return int(truth.sum()) >= EXAMPLES_MIN and all(
        truth[np.asarray(folds) != fold].any() for fold in np.unique(folds)
    )
