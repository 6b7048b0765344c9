"""The keys `calibration` and `probe` of a category, which change its score. Pure data."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from moderator.policies.fields import Frozen, Located, Slug, refuse

#: Bounds of what a calibration may do to the log-odds. Fits on real scores are far inside.
MIN_SLOPE, MAX_SLOPE = 0.01, 100.0
MAX_OFFSET = 50.0
MAX_POINTS = 64
#: Log-odds are those of a score that is at least so far from 0 and from 1: the grain of a float32 below 1.
SCORE_GRAIN = 2.0**-24

_Score = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class PlattCalibration(Frozen):
    """logit(s') = slope * logit(s) + offset (Platt, 1999, on the log-odds of the score)."""

    kind: Literal["platt"]
    """`platt`."""
    slope: Annotated[float, Field(strict=True, ge=MIN_SLOPE, le=MAX_SLOPE, allow_inf_nan=False)]
    """Factor of the log-odds; above 0, so that the order of scores stays."""
    offset: Annotated[float, Field(strict=True, ge=-MAX_OFFSET, le=MAX_OFFSET, allow_inf_nan=False)]
    """Added to the log-odds."""

    @property
    def score_range(self) -> tuple[float, float]:
        """The lowest and the highest score that it gives."""
        bound = self.slope * math.log((1 - SCORE_GRAIN) / SCORE_GRAIN)
        return _expit(self.offset - bound), _expit(self.offset + bound)


class IsotonicCalibration(Frozen):
    """s' on straight lines between points [s, s'], which never fall; outside of them, s' of the nearest one.

    Fitted by isotonic regression (Zadrozny and Elkan, 2002).
    """

    kind: Literal["isotonic"]
    """`isotonic`."""
    points: Annotated[tuple[tuple[_Score, _Score], ...], Field(min_length=2, max_length=MAX_POINTS)]
    """Pairs of a score and its calibrated score, sorted by score."""

    @model_validator(mode="after")
    def _never_falls(self) -> Self:
        problems: list[Located] = []
        for n, (before, point) in enumerate(zip(self.points, self.points[1:], strict=False), 1):
            if point[0] <= before[0]:
                message = (
                    f"the score {point[0]:g} does not come after {before[0]:g}; sort the points, "
                    "and name each score once"
                )
                problems.append((("points", n), message, point))
            elif point[1] < before[1]:
                message = (
                    f"the calibrated score falls from {before[1]:g} to {point[1]:g}; "
                    "a higher score may not mean less"
                )
                problems.append((("points", n), message, point))
        refuse(problems)
        return self

    @property
    def score_range(self) -> tuple[float, float]:
        """The lowest and the highest score that it gives."""
        return self.points[0][1], self.points[-1][1]


def _expit(logit: float) -> float:
    return 1 / (1 + math.exp(min(-logit, 700.0)))


Calibration = Annotated[PlattCalibration | IsotonicCalibration, Field(discriminator="kind")]
CALIBRATIONS: dict[str, type[Frozen]] = {"platt": PlattCalibration, "isotonic": IsotonicCalibration}


class CategoryProbe(Frozen):
    """A probe beside the words of a category: logit(s') = (1 - weight) * logit(s) + weight * logit(probe).

    A logarithmic opinion pool (Genest and Zidek, 1986) of the words' score in the worst view and of the signal's.
    """

    signal: Slug
    """The signal, of those under `signals:`."""
    weight: Annotated[float, Field(strict=True, gt=0, lt=1, allow_inf_nan=False)]
    """Share of the probe in the joined log-odds."""
