"""Propose prompts for a category: variations of its own, words near to them, and what its mistakes look like. Pure.

Variations stay on the subject, so they seldom suit the images by chance; they come first. What looks like a mistake may
be anything, so there are few of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderator.policies.fields import MAX_PROMPT, fill, same_text
from moderator.scoring.rules import Floats as Vectors
from moderator.tuning.prompt_search import PromptCandidates, PromptSides, PromptTable
from moderator.tuning.rank_objective import HARD_SHARE, Flags

#: Settings in which a prompt is tried.
SETTINGS = (
    "a person with {}",
    "the face of a person with {}",
    "several people with {}",
    "a close-up of {}",
    "a film still of {}",
    "{} held in a hand",
    "{} on a table",
    "{} on a white background",
    "{} outdoors",
    "{} in the dark",
)
#: Prompts of a side that are varied, and of which pairs are made; bounds the texts to embed.
VARIED_MAX, PAIRED_MAX = 40, 12
#: Texts of a vocabulary that are proposed as unsafe because they are near to unsafe prompts.
NEAR_COUNT = 60
#: Texts that are proposed for each side because mistakes look like them.
MISTAKEN_COUNT = 20
#: Share of the positives, the lowest, that count as missed.
MISSED_SHARE = 0.3


def variations(unsafe: Sequence[str], safe: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return variations of the prompts of each side: each in several settings, and pairs of unsafe ones."""
    pairs = [f"{a}, {b}" for a in unsafe[:PAIRED_MAX] for b in unsafe[:PAIRED_MAX] if a != b]
    taken = {same_text(text) for text in (*unsafe, *safe)}
    sides = []
    for texts in ([*_in_settings(unsafe), *pairs], _in_settings(safe)):
        new = {same_text(text): text for text in texts if len(text) <= MAX_PROMPT}
        sides.append([text for key, text in new.items() if key not in taken])
        taken |= new.keys()
    return sides[0], sides[1]


def _in_settings(prompts: Sequence[str]) -> list[str]:
    return [fill(setting, prompt) for prompt in prompts[:VARIED_MAX] for setting in SETTINGS]


@dataclass(frozen=True, eq=False)
class CandidateProposer:
    """Proposes columns of a table as prompts of a category."""

    matrix: Vectors
    """float32 [T, dimension], the embedding of each column."""
    unsafe: tuple[int, ...]
    """Variations of its unsafe prompts."""
    safe: tuple[int, ...]
    """Variations of its safe prompts, and everyday things."""

    def __call__(self, table: PromptTable, truth: Flags, sides: PromptSides) -> PromptCandidates:
        """Return candidates; those that come from mistakes are suggested by these images alone."""
        unsafe = (self.matrix @ self.matrix[list(sides.unsafe)].T).max(axis=1)
        safe = (self.matrix @ self.matrix[[*sides.fixed, *sides.safe]].T).max(axis=1, initial=-1)
        synonyms = unsafe > safe
        odds = table.log_odds(sides)
        missed = truth & (odds <= np.quantile(odds[truth], MISSED_SHARE))
        alarms = ~truth & (odds >= np.quantile(odds[~truth], 1 - HARD_SHARE))
        looks = np.maximum.reduceat(table.logits, table.starts[:-1], axis=0)
        like_missed = looks[missed].mean(axis=0) - looks[~truth].mean(axis=0)
        like_alarms = looks[alarms].mean(axis=0) - looks[truth].mean(axis=0)
        near = _top(np.where(synonyms, unsafe, -np.inf), NEAR_COUNT)
        like_missed = _top(np.where(synonyms, like_missed, -np.inf), MISTAKEN_COUNT)
        like_alarms = _top(np.where(synonyms, -np.inf, like_alarms), MISTAKEN_COUNT)
        return PromptCandidates(
            unsafe=tuple(dict.fromkeys((*self.unsafe, *near, *like_missed))),
            safe=tuple(dict.fromkeys((*(n for n in self.safe if not synonyms[n]), *like_alarms))),
        )


def _top(values: NDArray[np.floating], count: int) -> list[int]:
    order = np.argsort(-values, kind="stable")[:count]
    return [int(column) for column in order if np.isfinite(values[column])]
