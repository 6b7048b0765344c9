"""Figures of evaluations as people read them. Pure."""

from moderator.tuning.evaluation_metrics import Estimate

MISSING = "–"


def percent(value: float | None, digits: int = 0) -> str:
    """Return a share for people, such as `91 %`."""
    return MISSING if value is None else f"{100 * value:.{digits}f} %"


def share_text(estimate: Estimate) -> str:
    """Return a share with its interval, such as `91 % (86–95)`; small ones with a decimal."""
    if estimate.value is None:
        return MISSING
    digits = 1 if 0 < estimate.value < 0.1 or 0.99 < estimate.value < 1 else 0
    if estimate.low is None or estimate.high is None:
        return percent(estimate.value, digits)
    return f"{percent(estimate.value, digits)} ({100 * estimate.low:.{digits}f}–{100 * estimate.high:.{digits}f})"


def gap_text(estimate: Estimate) -> str:
    """Return a difference of shares in percentage points with its sign, such as `+12 (+3 to +21)`."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return MISSING
    value, low, high = (_points(number) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def figure_text(estimate: Estimate) -> str:
    """Return a figure between 0 and 1 with its interval, such as `0.974 (0.961–0.985)`."""
    if estimate.value is None:
        return MISSING
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"


def count_text(estimate: Estimate | None) -> str:
    """Return a number of images with its interval, such as `1,230 (1,100–1,380)`."""
    if estimate is None or estimate.value is None:
        return MISSING
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:,.0f}"
    return f"{estimate.value:,.0f} ({estimate.low:,.0f}–{estimate.high:,.0f})"


def _points(share: float) -> str:
    points = round(100 * share)
    return f"{points:+d}".replace("-", "−") if points else "0"
