"""Train and measure linear probes (Radford et al., 2021, section 3.2 and appendix A.3)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderator.encoders.encoder import Embeddings
from moderator.errors import ExtraMissing, LabelsInvalid
from moderator.identity import Identity
from moderator.signals.kinds.linear_probe import Probe

try:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, train_test_split
except ImportError as error:  # pragma: no cover
    raise ExtraMissing("probes need scikit-learn: pip install 'moderator[probe]'") from error

#: The sweep over C, the inverse of the paper's L2 strength: coarse steps first, then halved around the best one
#: down to eight per decade, as 96 values from 1e-6 to 1e6.
COARSE_EXPONENTS = tuple(range(-6, 7, 2))
FINEST_EXPONENT_STEP = 1 / 8
#: Share of the training images on which C is chosen.
VALIDATION_SHARE = 0.25
MAX_ITERATIONS = 1000

Labels = NDArray[np.str_]


@dataclass(frozen=True)
class Figures:
    """How well labels were separated. ROC-AUC is one label against all others."""

    images: int
    accuracy: float
    auc: dict[str, float]
    """By label; for cross-validation, the mean over the folds."""

    def macro_auc(self, labels: Sequence[str] | None = None) -> float:
        """Return the mean over labels, by default all."""
        return float(np.mean([self.auc[label] for label in (labels if labels is not None else self.auc)]))


def train(
    embeddings: Embeddings, labels: Sequence[str], identity: Identity, c: float | None = None, seed: int = 0
) -> Probe:
    """Train a probe.

    C is the value with the lowest loss on a validation split; the probe is then fitted on all images. (The paper
    takes the highest accuracy, but on hundreds of images many values share it.)

    Args:
        embeddings: float32 [n, dimension].
        labels: n.
        identity: that of the encoder.
        c: inverse strength of the L2 penalty; default: chosen as above.
        seed: seed of the split.

    Raises:
        LabelsInvalid: fewer than two labels, or a label with too few images.
    """
    truth = np.array(labels)
    _check_counts(truth, 1 if c is not None else 3)
    chosen = choose_c(embeddings, truth, seed) if c is None else c
    model = _fit(embeddings, truth, chosen)
    weight, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one row, for the second label
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    return Probe(
        tuple(map(str, model.classes_)), weight.astype(np.float32), bias.astype(np.float32), identity, chosen
    )


def choose_c(embeddings: Embeddings, labels: Labels, seed: int = 0) -> float:
    """Return the C with the lowest log loss on a stratified validation split; the smallest if several tie."""
    fitted, held, fitted_labels, held_labels = train_test_split(
        embeddings, labels, test_size=VALIDATION_SHARE, stratify=labels, random_state=seed
    )
    losses: dict[float, float] = {}

    def loss(exponent: float) -> float:
        if exponent not in losses:
            model = _fit(fitted, fitted_labels, 10.0**exponent)
            right = model.predict_proba(held)[held_labels[:, None] == model.classes_]
            losses[exponent] = -float(np.log(np.maximum(right, 1e-12)).mean())
        return losses[exponent]

    best = min(map(float, COARSE_EXPONENTS), key=loss)
    step = 1.0
    while step >= FINEST_EXPONENT_STEP:
        around = (best - step, best, best + step)
        best = min((x for x in around if COARSE_EXPONENTS[0] <= x <= COARSE_EXPONENTS[-1]), key=loss)
        step /= 2
    return float(10.0**best)


def evaluate(probe: Probe, embeddings: Embeddings, labels: Sequence[str]) -> Figures:
    """Measure a probe on labelled images that it was not trained on.

    Raises:
        LabelsInvalid: the probe does not know a label.
    """
    truth = np.array(labels)
    if unknown := sorted(set(labels) - set(probe.labels)):
        raise LabelsInvalid(f"the probe does not know {unknown[0]!r}; it knows {', '.join(probe.labels)}")
    scores = probe.probabilities(embeddings)
    right = np.array(probe.labels)[scores.argmax(axis=1)] == truth
    columns = {label: scores[:, n] for n, label in enumerate(probe.labels)}
    return Figures(len(truth), float(right.mean()), _aucs(truth, columns))


def cross_validate(
    embeddings: Embeddings,
    labels: Sequence[str],
    identity: Identity,
    others: Mapping[str, NDArray[np.float32]] | None = None,
    folds: int = 5,
    seed: int = 0,
    progress: Callable[[int], None] = lambda folds: None,
) -> tuple[Figures, dict[str, float]]:
    """Measure how well probes do on images that they were not trained on; C is chosen within each fold.

    Args:
        embeddings: float32 [n, dimension].
        labels: n.
        identity: that of the encoder.
        others: scores [n] by label from methods without training, measured on the same folds.
        folds: number of folds, stratified and shuffled.
        seed: seed of the folds.
        progress: called with the number of folds done since the last call.

    Returns the probes' figures and the ROC-AUC of `others` by label; AUCs are means over the folds.

    Raises:
        LabelsInvalid: fewer than two labels, or a label with fewer images than folds.
    """
    truth = np.array(labels)
    _check_counts(truth, max(folds, 4))
    names = sorted(set(labels))
    aucs: list[dict[str, float]] = []
    other_aucs: list[dict[str, float]] = []
    right = 0.0
    for inside, outside in StratifiedKFold(folds, shuffle=True, random_state=seed).split(embeddings, truth):
        probe = train(embeddings[inside], list(truth[inside]), identity, seed=seed)
        figures = evaluate(probe, embeddings[outside], list(truth[outside]))
        aucs.append(figures.auc)
        right += figures.accuracy * len(outside)
        rest = {name: scores[outside] for name, scores in (others or {}).items() if name in names}
        other_aucs.append(_aucs(truth[outside], rest))
        progress(1)
    return Figures(len(truth), right / len(truth), _means(aucs)), _means(other_aucs)


def _fit(embeddings: Embeddings, labels: Labels, c: float) -> Any:
    # L-BFGS, multinomial, the paper's iteration limit. Failure to converge means that C is far too large, which the
    # sweep sees in the loss.
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=c, max_iter=MAX_ITERATIONS).fit(embeddings.astype(np.float64), labels)


def _check_counts(labels: Labels, least: int) -> None:
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < 2:
        raise LabelsInvalid("a probe needs images of at least two labels")
    if counts.min() < least:
        rare = names[counts.argmin()]
        raise LabelsInvalid(f"label {str(rare)!r} has {counts.min()} images and needs {least}; add some")


def _aucs(truth: Labels, scores: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
    return {
        label: float(roc_auc_score(truth == label, column))
        for label, column in scores.items()
        if 0 < (truth == label).sum() < len(truth)
    }


def _means(folds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {label: float(np.mean([fold[label] for fold in folds])) for label in folds[0]}
