"""What differs between two versions of a policy: its words and thresholds, and what it decides about images. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderator.policies.schema import Policy
from moderator.scoring.batch_decisions import BatchDecisions, Levels

DECISIONS = ("allow", "review", "block")
#: Lists of prompts, of which what is added and removed is shown.
_PROMPTS = ("unsafe", "safe")


@dataclass(frozen=True)
class KeyChange:
    """A key with another value; None: it has no value there."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True)
class PartDiff:
    """What differs in a category, or in what stands above the categories."""

    name: str
    """Of the category; empty for the policy."""
    added: Mapping[str, tuple[str, ...]]
    """New prompts by side: `unsafe`, `safe`."""
    removed: Mapping[str, tuple[str, ...]]
    keys: tuple[KeyChange, ...]
    state: str = "changed"
    """`added`, `removed` or `changed`."""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.state == "changed" and not (
            self.keys or any(self.added.values()) or any(self.removed.values())
        )


@dataclass(frozen=True)
class ImageChange:
    """An image that the two versions decide differently."""

    path: Path
    before: str
    """`allow`, `review`, `block`, or `not computable`."""
    after: str
    category: str
    """The category that makes the difference: the one that decides where the decision is the severer one."""
    score_before: float | None
    """Of that category; None: a version does not have it, or cannot compute it."""
    score_after: float | None
    label: str = ""
    """What the image shows by its label, if it has one."""


def diff_policies(before: Policy, after: Policy) -> list[PartDiff]:
    """Return the parts that differ, the policy itself first. Name and version are left out."""
    one, other = (
        policy.model_dump(mode="json", exclude={"name", "version", "categories"})
        for policy in (before, after)
    )
    parts = [_part("", one, other)]
    for name in sorted({*before.categories, *after.categories}):
        dumped = [
            policy.categories[name].model_dump(mode="json") if name in policy.categories else None
            for policy in (before, after)
        ]
        state = "added" if dumped[0] is None else "removed" if dumped[1] is None else "changed"
        parts.append(_part(name, dumped[0] or {}, dumped[1] or {}, state))
    return [part for part in parts if not part.same]


def _part(name: str, before: Mapping[str, Any], after: Mapping[str, Any], state: str = "changed") -> PartDiff:
    lists = {key: (tuple(before.get(key) or ()), tuple(after.get(key) or ())) for key in _PROMPTS}
    keys = [key for key in {**before, **after} if key not in _PROMPTS and before.get(key) != after.get(key)]
    return PartDiff(
        name,
        added={key: tuple(text for text in new if text not in old) for key, (old, new) in lists.items()},
        removed={key: tuple(text for text in old if text not in new) for key, (old, new) in lists.items()},
        keys=tuple(KeyChange(key, before.get(key), after.get(key)) for key in keys),
        state=state,
    )


def changed_images(
    paths: Sequence[Path],
    before: BatchDecisions,
    after: BatchDecisions,
    unseen: NDArray[np.bool_] | None = None,
    labels: Sequence[str] = (),
) -> list[ImageChange]:
    """Return the images whose decision differs, most changed first: by decision, then by score.

    Args:
        paths: of n images.
        before: the decisions of one version on them.
        after: those of the other.
        unseen: [n] images of which a part was not judged: they go to review at least.
        labels: of the images; none: they have none.
    """
    one, other = (_final(decisions.decisions, unseen) for decisions in (before, after))
    changes = []
    for row in np.flatnonzero(one != other).tolist():
        which, column = _deciding(row, before, after, int(one[row]), int(other[row]))
        name = which.categories[column]
        change = ImageChange(
            path=paths[row],
            before=_word(one[row]),
            after=_word(other[row]),
            category=name,
            score_before=_score(before, row, name),
            score_after=_score(after, row, name),
            label=labels[row] if labels else "",
        )
        moved = abs((change.score_after or 0.0) - (change.score_before or 0.0))
        changes.append((-abs(int(other[row]) - int(one[row])), -moved, str(paths[row]), change))
    return [change for *_, change in sorted(changes, key=lambda entry: entry[:3])]


def count_transitions(changes: Sequence[ImageChange]) -> dict[str, int]:
    """Return how many images changed from which decision to which, the most frequent first."""
    return dict(Counter(f"{change.before} to {change.after}" for change in changes).most_common())


def _deciding(
    row: int, before: BatchDecisions, after: BatchDecisions, one: int, other: int
) -> tuple[BatchDecisions, int]:
    """Return the version and the category that make the difference: what is not computable, else what is severer."""
    if min(one, other) < 0:
        which = before if one < 0 else after
        return which, int(which.levels[row].argmin())
    which = after if other > one else before
    return which, int(np.argmax(which.levels[row] + np.nan_to_num(which.scores[row]) * 0.5))


def _final(decisions: Levels, unseen: NDArray[np.bool_] | None) -> Levels:
    return decisions if unseen is None else np.where(unseen & (decisions == 0), np.int8(1), decisions)


def _word(level: int) -> str:
    return DECISIONS[level] if level >= 0 else "not computable"


def _score(decisions: BatchDecisions, row: int, name: str) -> float | None:
    if name not in decisions.categories:
        return None
    score = float(decisions.scores[row, decisions.categories.index(name)])
    return None if np.isnan(score) else round(score, 4)
