"""What a backfill reports while it runs."""

from collections.abc import Callable
from dataclasses import dataclass


def _ignore(*_: object) -> None:
    return


@dataclass(frozen=True)
class Reporter:
    """Takes what happens; each part is optional."""

    listed: Callable[[int], object] = _ignore
    """Called with the number of entries listed since the last call."""
    begun: Callable[[int, int], object] = _ignore
    """Called when judging begins, with the number of all images and of those that have their row already."""
    done: Callable[[int], object] = _ignore
    """Called with the number of images that got their row since the last call."""
    notice: Callable[[str], object] = _ignore
    """Called with a sentence on what the run waits for."""
