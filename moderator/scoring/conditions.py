"""Score conditions over categories: `and` is min, `or` is max, `not` is 1 - s (Zadeh, 1965, "Fuzzy Sets").

Where a signal did not read all of an image, its score is a lower bound, and so is the condition's: `not` counts as 0.
The same holds for a second opinion that was not asked.
"""

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from moderator.policies.condition_parser import AND, Condition, Named

Doubles = NDArray[np.float64]


def condition_scores(
    condition: Condition, columns: dict[str, int], scores: Doubles, unsure: NDArray[np.bool_] | None = None
) -> Doubles:
    """Return the scores of a condition on n images, float64 [n]; NaN where a category that it names has NaN.

    Args:
        condition: over categories.
        columns: the column of each category.
        scores: float64 [n, C].
        unsure: [n, C] where a score is only a lower bound, because not all of the image was read. The result is a lower
            bound, too: what the condition denies counts as 0 there. None: nowhere.
    """
    if isinstance(condition, Named):
        column = columns[condition.name]
        if not condition.negated:
            return scores[:, column]
        value = 1 - scores[:, column]
        return value if unsure is None else np.where(unsure[:, column], value * 0, value)
    join = np.minimum if condition.word == AND else np.maximum
    return reduce(join, (condition_scores(part, columns, scores, unsure) for part in condition.parts))
