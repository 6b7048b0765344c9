"""Texts on their way to a text tower: in batches, and never cut silently."""

import logging
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from moderator.encoders.encoder import Embeddings

log = logging.getLogger(__name__)

#: Texts in one forward pass of the text tower; bounds memory when a policy is large.
TEXT_BATCH = 256
#: Cut texts remembered at most; beyond that they are logged again.
_REMEMBERED_MAX = 10_000


class TextLimit:
    """Finds texts that a tower cuts, and logs each once.

    Args:
        tokens: how many tokens the tower reads at most, special ones included.
        count: returns the number of tokens of each text, before cutting.
    """

    def __init__(self, tokens: int, count: Callable[[list[str]], list[int]]) -> None:
        self.tokens = tokens
        self._count = count
        self._logged: set[str] = set()
        self._lock = Lock()

    def exceeded_by(self, texts: Sequence[str]) -> list[str]:
        """Return the texts that are cut."""
        lengths = self._count(list(texts)) if texts else []
        return [text for text, length in zip(texts, lengths, strict=True) if length > self.tokens]

    def warn(self, texts: Sequence[str]) -> None:
        """Log a warning for each text that is cut, once."""
        for text in self.exceeded_by(texts):
            with self._lock:
                if text in self._logged:
                    continue
                if len(self._logged) >= _REMEMBERED_MAX:
                    self._logged.clear()
                self._logged.add(text)
            shown = text if len(text) <= 80 else f"{text[:77]}..."
            log.warning("the model reads %d tokens and does not see the end of: %s", self.tokens, shown)


def in_batches(
    embed: Callable[[Sequence[str]], Embeddings], texts: Sequence[str], dimension: int
) -> Embeddings:
    """Embed any number of texts, including none -> float32 [n, dimension].

    Args:
        embed: embeds at most `TEXT_BATCH` texts.
        texts: any number.
        dimension: length of a row.
    """
    rows = [np.empty((0, dimension), dtype=np.float32)]
    for start in range(0, len(texts), TEXT_BATCH):
        rows.append(embed(texts[start : start + TEXT_BATCH]))
    return np.concatenate(rows)
