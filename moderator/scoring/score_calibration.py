"""Move scores along their log-odds: calibration, and a probe beside words.

| step     | formula                                                              |
| -------- | -------------------------------------------------------------------- |
| probe    | logit(s') = (1 - weight) logit(s) + weight logit(probe)              |
| platt    | logit(s') = slope logit(s) + offset                                  |
| isotonic | s' between the points [s, s'], linear; outside, that of the last one |

Sources: Genest and Zidek, 1986, "Combining Probability Distributions" (the logarithmic opinion pool); Platt, 1999,
"Probabilistic Outputs for Support Vector Machines"; Zadrozny and Elkan, 2002, "Transforming Classifier Scores into
Accurate Multiclass Probability Estimates".

Each is monotone: of two scores, the higher one never becomes the lower. Log-odds are those of a score that is at least
2^-24 from 0 and from 1, the grain of a 32-bit number, so that no score is beyond any calibration.
"""

import numpy as np
from numpy.typing import NDArray

from moderator.policies.calibration_schema import SCORE_GRAIN

Doubles = NDArray[np.float64]


def logit(scores: Doubles) -> Doubles:
    """Return log(s / (1 - s)), with scores bounded to [SCORE_GRAIN, 1 - SCORE_GRAIN], so that it is finite."""
    inside = np.clip(scores, SCORE_GRAIN, 1 - SCORE_GRAIN)
    result: Doubles = np.log(inside) - np.log1p(-inside)
    return result


def expit(logits: Doubles) -> Doubles:
    """Return 1 / (1 + exp(-x)), in 64 bits, without overflow."""
    result: Doubles = 1 / (1 + np.exp(np.minimum(-logits, 700)))
    return result


def join_probe(words: Doubles, probe: Doubles, weight: Doubles) -> Doubles:
    """Return the scores of words joined with those of a probe; `weight` is the probe's."""
    return expit((1 - weight) * logit(words) + weight * logit(probe))


def platt(scores: Doubles, slope: Doubles, offset: Doubles) -> Doubles:
    """Return calibrated scores; `slope` is above 0."""
    return expit(slope * logit(scores) + offset)


def isotonic(scores: Doubles, points: Doubles) -> Doubles:
    """Return calibrated scores; `points` [k, 2] are sorted by score, and the second column never falls."""
    result: Doubles = np.interp(scores, points[:, 0], points[:, 1])
    return result
