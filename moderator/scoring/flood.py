"""The flood breaker's decision: does a category block far more than it usually does? Pure.

A category's *window* is what it decided lately, its *history* what it decided before. Both belong to a policy and a
category, whichever version decided: a new version that blocks everything is compared with what the old one blocked.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from math import lgamma

import numpy as np

#: A usual rate below this counts as this: a rise from one block in 10,000 images to five is no flood.
USUAL_RATE_MIN = 0.005
#: Images that a history counts for at most: rates drift, so a longer history is no more certain about the next hour.
HISTORY_STRENGTH_IMAGES = 500.0
#: Times the odds at the highest rate of a window in the history at which the breaker opens at the earliest: some
#: categories come in waves, and a wave as high as the last one is no flood.
PEAK_RATIO = 1.5
#: The rise must be less likely than this under the history.
CHANCE_MAX = 1e-6
#: Part of the ratio below which the rate of an open category counts as calm.
CALM_SHARE = 0.5
#: Images since a breaker opened (or was calm) without which nothing is said about the rate.
CALM_IMAGES_MIN = 25
#: Images of a window that are looked at in `chance` at most; a larger one is scaled down.
CHANCE_IMAGES_MAX = 20_000


class FloodState(StrEnum):
    """The state of the breaker of a category."""

    LEARNING = "learning"
    """Closed, because the history is too short to say what is usual."""
    CLOSED = "closed"
    OPEN = "open"
    """Blocks of the category are diverted to review."""


class FloodTurn(StrEnum):
    """A change of that state."""

    OPEN = "open"
    CALM = "calm"
    """Open, and the rate is calm from now on."""
    HIGH = "high"
    """Open, and the rate is no longer calm."""
    CLOSE = "close"
    ACCEPT = "accept"
    """Close, and take what was decided since it opened as the history from now on."""


@dataclass(frozen=True)
class FloodRule:
    """When a breaker opens and closes.

    `ratio`: times the usual odds of a block at which it opens. `blocks_min`: in the window, below which it never does.
    `history_min`, `learning_seconds`: images in the history and its age, likewise. `cooldown_seconds`: for which the
    rate is calm before it closes.
    """

    ratio: float
    blocks_min: int
    history_min: int
    learning_seconds: float
    cooldown_seconds: float


@dataclass(frozen=True)
class BlockCounts:
    """Images that a category judged, and how many of them it blocked."""

    images: float = 0.0
    blocks: float = 0.0

    @property
    def rate(self) -> float:
        """Share of the images that were blocked; 0 if there are none."""
        return self.blocks / self.images if self.images > 0 else 0.0


@dataclass(frozen=True)
class FloodRecord:
    """What is known of a category. Moments are in seconds since the epoch, by the clock of Redis."""

    history: BlockCounts = BlockCounts()
    window: BlockCounts = BlockCounts()
    """Since the breaker opened or closed, if that is not long ago."""
    began: float = 0.0
    """When the history began."""
    peak: float = 0.0
    """The highest rate of the window in the history, from before the present window."""
    opened_at: float | None = None
    calm_since: float | None = None
    reason: str = ""
    """Why it is open."""

    def state(self, rule: FloodRule, now: float) -> FloodState:
        """Return the state of the breaker."""
        if self.opened_at is not None:
            return FloodState.OPEN
        short = self.history.images < rule.history_min or now - self.began < rule.learning_seconds
        return FloodState.LEARNING if short else FloodState.CLOSED


def usual_rate(history: BlockCounts) -> float:
    """Return the rate of blocks to compare with: the history's (Jeffreys' estimate), at least `USUAL_RATE_MIN`."""
    return max(USUAL_RATE_MIN, min(1.0, (history.blocks + 0.5) / (history.images + 1.0)))


def rise(rate: float, usual: float) -> float:
    """Return the odds of a block at a rate over the usual odds; for rare blocks that is the ratio of the rates.

    Odds, because no rate can be five times one of 30 %.
    """
    if rate <= 0.0 or usual >= 1.0:
        return 0.0
    return math.inf if rate >= 1.0 else rate / (1.0 - rate) * (1.0 - usual) / usual


def chance(record: FloodRecord) -> float:
    """Return the probability of as many blocks as the window has or more, if the rate is still the usual one.

    The beta-binomial tail (Skellam, 1948): the rate of the next images is drawn around the usual one, as uncertain as
    the history is short, and never more certain than `HISTORY_STRENGTH_IMAGES` say. A plain binomial test would take
    each swing of the traffic for a rise.
    """
    scale = min(1.0, CHANCE_IMAGES_MAX / max(1.0, record.window.images))
    n = int(record.window.images * scale)
    k = min(n, int(record.window.blocks * scale))
    usual = usual_rate(record.history)
    if k <= 0 or usual >= 1.0:
        return 1.0
    strength = min(HISTORY_STRENGTH_IMAGES, record.history.images + 1.0)
    a, b = usual * strength, (1.0 - usual) * strength
    first = (
        *(lgamma(n + 1), -lgamma(k + 1), -lgamma(n - k + 1)),
        *(lgamma(k + a), lgamma(n - k + b), -lgamma(n + strength)),
        *(lgamma(strength), -lgamma(a), -lgamma(b)),
    )
    # Each term of the tail over the one before.
    j = np.arange(k, n, dtype=np.float64)
    ratios = (n - j) * (j + a) / ((j + 1.0) * (n - j - 1.0 + b))
    logs = sum(first) + np.concatenate([[0.0], np.cumsum(np.log(ratios))])
    return min(1.0, float(np.exp(np.minimum(logs, 0.0)).sum()))


def next_turn(record: FloodRecord, rule: FloodRule, now: float) -> FloodTurn | None:
    """Return how the breaker of a category changes now; None: it stays as it is.

    It opens on a rise that is large (`ratio`, `PEAK_RATIO`), of some weight (`blocks_min`) and unlikely (`CHANCE_MAX`),
    against a history that is long enough. It closes once the rise has been below half of the ratio for the cool-down.
    """
    state, window = record.state(rule, now), record.window
    usual = usual_rate(record.history)
    height = rise(window.rate, usual)
    if state is FloodState.LEARNING:
        return None
    if state is FloodState.CLOSED:
        above = window.blocks >= rule.blocks_min and height >= rule.ratio
        above = above and rise(window.rate, max(usual, record.peak)) >= PEAK_RATIO
        return FloodTurn.OPEN if above and chance(record) <= CHANCE_MAX else None
    if window.images < CALM_IMAGES_MIN:
        return None
    if height >= max(1.0, rule.ratio * CALM_SHARE):
        return None if record.calm_since is None else FloodTurn.HIGH
    if record.calm_since is None:
        return FloodTurn.CALM
    return FloodTurn.CLOSE if now - record.calm_since >= rule.cooldown_seconds else None


def describe_rise(record: FloodRecord) -> str:
    """Return the reason for opening, in words for verdicts and logs."""
    window = record.window
    return (
        f"{window.blocks:.0f} of the last {window.images:.0f} images were blocked ({window.rate:.1%}), "
        f"usually {record.history.rate:.1%}"
    )
