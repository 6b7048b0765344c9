"""Propose prompts for a category: from a vocabulary, and from what is mistaken. Pure."""

from dataclasses import dataclass

import numpy as np

from moderator.scoring.rules import Floats as Vectors
from moderator.tuning.prompt_search import PromptCandidates, PromptSides, PromptTable
from moderator.tuning.rank_objective import HARD_SHARE, Flags

#: Texts that are proposed for each side: those nearest to its prompts, and those nearest to mistakes.
NEAR_UNSAFE_COUNT, NEAR_SAFE_COUNT = 60, 40
MISTAKEN_UNSAFE_COUNT, MISTAKEN_SAFE_COUNT = 20, 80


@dataclass(frozen=True, eq=False)
class CandidateProposer:
    """Proposes columns of a table as prompts."""

    matrix: Vectors
    """float32 [T, dimension], the embedding of each column."""

    def __call__(self, table: PromptTable, truth: Flags, sides: PromptSides) -> PromptCandidates:
        """Return candidates.

        Unsafe ones are nearer to the unsafe prompts than to the safe ones, or look like the positives with the lowest
        scores. Safe ones are near to the unsafe prompts without being nearer to them, or look like the negatives with
        the highest scores.
        """
        unsafe = self.matrix @ self.matrix[list(sides.unsafe)].T
        safe = self.matrix @ self.matrix[[*sides.fixed, *sides.safe]].T
        near_unsafe, near_safe = unsafe.max(axis=1), safe.max(axis=1) if safe.size else np.zeros(len(unsafe))
        synonyms = near_unsafe > near_safe
        odds = table.log_odds(sides)
        missed = truth & (odds <= np.quantile(odds[truth], 0.3))
        alarms = ~truth & (odds >= np.quantile(odds[~truth], 1 - HARD_SHARE))
        looks = np.maximum.reduceat(table.logits, table.starts[:-1], axis=0)
        like_missed = looks[missed].mean(axis=0) - looks[~truth].mean(axis=0)
        like_alarms = looks[alarms].mean(axis=0) - looks[truth].mean(axis=0)
        return PromptCandidates(
            unsafe=_union(
                _top(np.where(synonyms, near_unsafe, -np.inf), NEAR_UNSAFE_COUNT),
                _top(like_missed, MISTAKEN_UNSAFE_COUNT),
            ),
            safe=_union(
                _top(np.where(synonyms, -np.inf, near_unsafe), NEAR_SAFE_COUNT),
                _top(np.where(synonyms, -np.inf, like_alarms), MISTAKEN_SAFE_COUNT),
            ),
        )


def _top(values: np.ndarray, count: int) -> list[int]:
    order = np.argsort(-values, kind="stable")[:count]
    return [int(column) for column in order if np.isfinite(values[column])]


def _union(*columns: list[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(column for several in columns for column in several))
