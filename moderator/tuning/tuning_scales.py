"""From a threshold on log-odds to the keys of a category that put it into force. Pure."""

from typing import Any

import numpy as np

from moderator.policies.calibration_schema import Calibration
from moderator.policies.category_schema import Category
from moderator.policies.encoder_scales import CategoryScale
from moderator.policies.fields import NEVER, NEVER_WORD
from moderator.scoring.score_calibration import expit, logit
from moderator.tuning.calibration import calibrate
from moderator.tuning.rank_objective import Floats

#: A midpoint nearer to 0 or 1 would be lost in rounding: then the thresholds move instead.
MIDPOINT_MIN = 1e-3


def scale_at(
    spec: Category, cut: float, probe_weight: float = 0.0, calibration: Calibration | None = None
) -> CategoryScale:
    """Return the scale on which images are flagged from `cut` on.

    What flags, `review` or else `block`, keeps its number where a midpoint can move the score there. With a
    calibration, scores mean shares, and the thresholds move. `block` stays as far above `review` as it was, in
    log-odds.

    Args:
        spec: the category as it is on the encoder.
        cut: log-odds without midpoint and calibration, with the probe.
        probe_weight: of a probe beside the words.
        calibration: fitted to such log-odds; None: none.
    """
    flagging = spec.block if spec.review is None else spec.review
    start = _logit(flagging) if flagging < 1 else 0.0
    distance = NEVER if spec.block == NEVER else _logit(spec.block) - start
    if calibration is None and spec.has_prompts and spec.rule.is_relative and flagging < 1:
        midpoint = _rounded(float(expit(np.array((cut - start) / (1 - probe_weight)))))
        if MIDPOINT_MIN <= midpoint <= 1 - MIDPOINT_MIN:
            return _scale(midpoint=midpoint, review=spec.review, block=spec.block)

    def score_of(odds: float) -> float:
        array: Floats = np.array([odds], dtype=np.float64)
        return _rounded(float((expit(array) if calibration is None else calibrate(calibration, array))[0]))

    first = score_of(cut)
    if spec.review is None:
        return _scale(calibration=calibration, block=first)
    block = NEVER if distance == NEVER else score_of(cut + distance)
    if block <= first:  # nothing is left between them
        return _scale(calibration=calibration, block=first)
    return _scale(calibration=calibration, review=first, block=block)


def _scale(**keys: Any) -> CategoryScale:
    return CategoryScale(**keys | {"block": NEVER_WORD if keys["block"] == NEVER else keys["block"]})


def cut_of(spec: Category, score: float) -> float:
    """Return the log-odds, without the midpoint, at which a category without probe and calibration has a score."""
    return _logit(score) + _logit(spec.midpoint)


def _logit(score: float) -> float:
    return float(logit(np.array(score)))


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
