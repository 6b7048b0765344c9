"""The ImageNet protocol of zero-shot classification: top-1 and top-5 accuracy over labelled images."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from moderator.embeddings.classes import Classes
from moderator.embeddings.embedder import EmbeddedImage
from moderator.embeddings.labelled import Labelled
from moderator.errors import LabelsInvalid


@dataclass(frozen=True)
class Accuracy:
    """The share of images whose class is among the most probable ones."""

    images: int
    """Images classified, without those that could not be embedded."""
    failed: int
    top1: float
    top5: float
    mean_per_class: float
    """Top-1 accuracy of each class, averaged over the classes that have images."""


def measure(
    classes: Classes, labels: Sequence[str], labelled: Sequence[Labelled], embedded: Iterable[EmbeddedImage]
) -> Accuracy:
    """Classify images and count, in memory that does not grow with their number.

    Args:
        classes: the classifier; its texts are in the order of `labels`.
        labels: one for each of the classifier's texts.
        labelled: the images.
        embedded: the same images, in the same order.

    Raises:
        LabelsInvalid: an image has a label that is not among `labels`, or no image can be embedded.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    if unknown := sorted({one.label for one in labelled} - set(numbers)):
        raise LabelsInvalid(f"label {unknown[0]!r} is not among the classes; add it, or leave its images out")
    images: Counter[str] = Counter()
    first: Counter[str] = Counter()
    failed = among = 0
    for one, item in zip(labelled, embedded, strict=True):
        if item.embedding is None:
            failed += 1
            continue
        best = np.argsort(-classes.probabilities(item.embedding[None])[0], kind="stable")[:5]
        images[one.label] += 1
        first[one.label] += int(best[0] == numbers[one.label])
        among += int(numbers[one.label] in best)
    total = images.total()
    if not total:
        raise LabelsInvalid("none of the images could be embedded")
    per_class = [first[label] / count for label, count in images.items()]
    return Accuracy(total, failed, first.total() / total, among / total, float(np.mean(per_class)))
