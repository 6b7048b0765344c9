"""What images truly show, in the terms of a policy. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.scoring.conditions import condition_scores
from moderator.scoring.thresholds import CompiledPolicy
from moderator.tuning.labelled_images import LabelledImages


@dataclass(frozen=True, eq=False)
class Truth:
    """What n images show of C categories."""

    shows: NDArray[np.bool_]
    """[n, C] in the policy's order."""
    flagging: NDArray[np.bool_]
    """[C] whether a category can send an image to review or block it; others only serve in conditions."""

    @property
    def unsafe(self) -> NDArray[np.bool_]:
        """Whether each image shows anything that is not allowed: bool [n]."""
        return np.asarray((self.shows & self.flagging).any(axis=1), dtype=np.bool_)


def truth_of(compiled: CompiledPolicy, images: LabelledImages) -> Truth:
    """Return what images show by their labels.

    A condition is true of an image if it is among its labels, or follows from the others.
    """
    names = list(compiled.categories)
    columns = {name: column for column, name in enumerate(names)}
    labelled = np.array([[name in shown for name in names] for shown in images.shows], dtype=np.bool_)
    labelled = labelled.reshape(len(images), len(names))
    shows = labelled.copy()
    for name, spec in compiled.categories.items():
        if spec.condition is not None:
            follows = condition_scores(spec.condition, columns, labelled.astype(np.float64)) > 0
            shows[:, columns[name]] |= follows
    flagging = [spec.review is not None or np.isfinite(spec.block) for spec in compiled.categories.values()]
    return Truth(shows, np.array(flagging, dtype=np.bool_))
