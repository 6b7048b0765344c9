"""Make allowance for many looks: the more views a picture has, the higher a view's score must be.

Each further look is a further chance of a false alarm. Scores of safe pictures fall off about exponentially on the
logit scale, so a bar that is raised by a fixed step for each doubling of the views keeps the share of false alarms.
A category that parts of pictures resemble more than whole ones do (a bottle cut out looks like a cigar) may ask for
more: `view_allowance` in the policy. It does not hold for the pictures of a collage.

The whole of a picture on a border, or of a long one, is squeezed or cut for the model. Where another view shows all of
it better, the whole by itself is nearly always a false alarm: noise around a photograph looks like insects.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from moderator.scoring.rules import Floats, Scores
from moderator.view import View, pictures_of

#: Logits by which a view's score is lowered for each doubling of the views of its picture besides the whole. Measured
#: on safe photographs in collages, grids and frames; see docs/views.md.
LOGITS_PER_DOUBLING = 0.1
#: Logits by which the score of a whole picture is lowered where it also has a view without its borders, which shows
#: all of it larger. Beyond 4, hardly a further false alarm is saved.
LOGITS_OF_BORDERED = 4.0
#: The same, where all other views together show the picture better, but none by itself does: it is long, or remains
#: long without its borders.
LOGITS_OF_LONG = 0.5
#: A picture with more views besides the whole is a collage: these are pictures of their own, and no parts of one.
PARTS_MAX = 3


def allowances(views: Sequence[View]) -> Floats:
    """Return by how many logits the score of each view is lowered: float32 [views], 0 for a picture of one view."""
    return _allowances_and_parts(views)[0]


def parts(views: Sequence[View]) -> Floats:
    """Return 1 for each view that shows a part of its picture, else 0: float32 [views]. A border is no part.

    Nor is a picture among many: what has more than `PARTS_MAX` views besides the whole is a collage.
    """
    return _allowances_and_parts(views)[1]


def with_allowance(scores: Scores, views: Sequence[View], asked: Floats) -> Scores:
    """Return the scores of views, lowered by their allowances; those of pictures of one view stay bit for bit.

    Args:
        scores: of the views.
        views: of any number of pictures, in their order.
        asked: float32 [C], `Category.view_allowance`.
    """
    of_all, of_parts = _allowances_and_parts(views)
    lowered = of_all[:, None] + of_parts[:, None] * asked
    rows = np.flatnonzero(lowered.any(axis=1))
    if not len(rows):
        return scores
    unsafe, safe = scores.unsafe.copy(), scores.safe.copy()
    unsafe[rows] = _shifted(unsafe[rows], -lowered[rows])
    safe[rows] = _shifted(safe[rows], lowered[rows])
    return replace(scores, unsafe=unsafe, safe=safe)


def _allowances_and_parts(views: Sequence[View]) -> tuple[Floats, Floats]:
    pairs = list(zip(pictures_of(views), views, strict=True))
    others = Counter(picture for picture, view in pairs if not view.is_whole)
    lowered_wholes = {
        **{picture: LOGITS_OF_LONG for picture, view in pairs if view.name in ("trimmed", "square")},
        **{
            picture: LOGITS_OF_BORDERED
            for picture, view in pairs
            if view.name == "trimmed" and not view.is_long
        },
    }
    lowered = [
        lowered_wholes.get(picture, 0.0) if view.is_whole else LOGITS_PER_DOUBLING * np.log2(others[picture])
        for picture, view in pairs
    ]
    shown = [
        not view.is_whole and view.name != "trimmed" and others[picture] <= PARTS_MAX
        for picture, view in pairs
    ]
    return np.array(lowered, dtype=np.float32), np.array(shown, dtype=np.float32)


def _shifted(scores: Floats, logits: Floats) -> Floats:
    """Shift scores on the logit scale: p / (1 - p) is multiplied by exp(logits)."""
    factor = np.exp(logits)
    shifted: Floats = scores * factor / (1 - scores + scores * factor)
    return shifted
