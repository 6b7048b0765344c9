"""Boxes of found things: which are one thing, and how a verdict shows them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class FoundBox:
    """A thing that was found. Corners as shares of the picture's longer side, from its upper left corner."""

    score: float
    word: int
    """Index of the word that fits best."""
    left: float
    top: float
    right: float
    bottom: float

    def to_facts(self, size: tuple[int, int], words: Sequence[str]) -> dict[str, Any]:
        """Return the box as the verdict shows it, in whole pixels of a picture of this width and height."""
        width, height = size
        scale = max(size)
        left, right = (round(min(max(0.0, edge * scale), width)) for edge in (self.left, self.right))
        top, bottom = (round(min(max(0.0, edge * scale), height)) for edge in (self.top, self.bottom))
        return {
            "word": words[self.word][:64],
            "score": round(self.score, 4),
            "x": left,
            "y": top,
            "width": right - left,
            "height": bottom - top,
        }


def distinct(found: Sequence[FoundBox], overlap: float) -> list[FoundBox]:
    """Return one box for each thing, best first: a box that overlaps a better one by more is the same thing.

    Greedy non-maximum suppression, over all words together.

    Args:
        found: boxes in any order.
        overlap: intersection over union, in (0, 1].
    """
    ordered = sorted(found, key=lambda one: -one.score)
    corners = np.array([(one.left, one.top, one.right, one.bottom) for one in ordered]).reshape(-1, 4)
    areas = np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0), axis=1)
    open_ = np.ones(len(ordered), dtype=np.bool_)
    kept: list[FoundBox] = []
    for n, one in enumerate(ordered):
        if not open_[n]:
            continue
        kept.append(one)
        sides = np.minimum(corners[n, 2:], corners[:, 2:]) - np.maximum(corners[n, :2], corners[:, :2])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        union = np.maximum(areas[n] + areas - shared, 1e-12)
        open_ &= shared / union <= overlap
    return kept
