"""Scales of charts: from values to places, with round numbers at the ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_TICKS_WANTED = 5


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to places in a drawing."""

    low: float
    high: float
    start: float
    """Place of `low`."""
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of a value, rounded; one outside the scale is placed at its end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, wanted: int = _TICKS_WANTED) -> list[tuple[float, str]]:
        """Return places and texts of round values, about as many as wanted."""
        step = round_step((self.high - self.low) / wanted)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(self(n * step), number_text(n * step)) for n in range(first, last + 1)]


def round_step(step: float) -> float:
    """Return 1, 2 or 5 times a power of ten: the least that is no smaller than a step."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * (1 - 1e-9))


def round_range(values: Iterable[float], from_zero: bool = False) -> tuple[float, float]:
    """Return a range of round numbers that holds all finite values; never an empty one."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = (low - 0.5, high + 0.5) if low and not from_zero else (low, high + 1.0)
    step = round_step((high - low) / _TICKS_WANTED)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def number_text(value: float) -> str:
    """Return a number as people write it: four significant digits, thousands apart."""
    if not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
