"""Re-decide a block of archived images, and count what changes. Pure: the same in a thread and on a cluster."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moderator.scoring.batch_decisions import NOT_COMPUTABLE, BatchDecisions, decide_block
from moderator.tuning.archived_images import ArchivePolicy, image_block, image_starts
from moderator.tuning.archived_opinions import apply_opinions

if TYPE_CHECKING:
    from moderator.archive.segment_file import EvidenceBlock

#: Names of levels, in the order of their numbers; the last one stands at -1.
OUTCOMES = ("allow", "review", "block", "not computable")
#: Images kept of each kind of flip, for people to look at. Which ones depends on their numbers alone.
SAMPLES_MAX = 12
#: A multiplier that scatters numbers (Knuth, 1998, section 6.4).
_SCATTER = np.uint64(0x9E3779B97F4A7C15)

Levels = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class ArchivedDecisions:
    """What the archive says of the n images of a block, in their order."""

    wanted: NDArray[np.bool_]
    """[n] whether to count the image."""
    levels: Levels
    """[n] the decision, as a level: 0 allow, 1 review, 2 block."""
    flags: Levels
    """[n, F] the level of some categories; of all others it is 0."""
    categories: tuple[str, ...]
    """The F categories of these columns."""
    unseen: NDArray[np.bool_]
    """[n] whether a part of the image has no embedding: then no policy allows it."""
    days: NDArray[np.datetime64]
    """[n] day of the decision, UTC."""


@dataclass(frozen=True)
class Flip:
    """An image whose decision changes."""

    verdict_id: int
    before: str
    after: str
    category: str
    """The one that decides now or, for an image that is allowed now, decided before."""
    score: float | None
    """Of that category, now. None: there is none."""
    rank: int
    """By which samples are chosen."""


@dataclass
class BacktestCounts:
    """What changes. Counts of parts of the archive can be added."""

    images: int = 0
    rows: int = 0
    """Embeddings of these images."""
    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Images by decision before and after."""
    categories: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Images by category, and its level before and after."""
    days: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Images by day, and decision before and after."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Images that are not computable, by reason; one image may have several."""
    samples: dict[tuple[str, str], list[Flip]] = field(default_factory=dict)
    """Some images of each kind of flip."""

    def add(self, other: "BacktestCounts") -> None:
        """Add the counts of another part of the archive."""
        self.images += other.images
        self.rows += other.rows
        for name in ("decisions", "categories", "days", "reasons"):
            getattr(self, name).update(getattr(other, name))
        for kind, flips in other.samples.items():
            both = sorted([*self.samples.get(kind, ()), *flips], key=lambda flip: flip.rank)
            self.samples[kind] = both[:SAMPLES_MAX]

    def flips(self) -> int:
        """Return the number of images whose decision changes; those that are not computable do not count."""
        return sum(count for (a, b), count in self.decisions.items() if a != b and OUTCOMES[-1] not in (a, b))


@dataclass(frozen=True, eq=False)
class BacktestPlan:
    """Which policy decides, and what its decisions are compared with."""

    policy: ArchivePolicy
    against: ArchivePolicy | None = None
    """Another policy; None: the archived decisions."""


def count_block(plan: BacktestPlan, block: "EvidenceBlock", archived: ArchivedDecisions) -> BacktestCounts:
    """Decide the images of a block and compare with what was, or what another policy would have, decided."""
    kept = archived.wanted
    counts = BacktestCounts(int(kept.sum()), int(np.repeat(kept, np.diff(image_starts(block))).sum()))
    if not counts.images:
        return counts
    after, reasons = _decide(plan.policy, block, archived.unseen)
    for reason, missing in reasons.items():
        if number := int((missing & kept & (after.decisions == NOT_COMPUTABLE)).sum()):
            counts.reasons[reason] = number
    if plan.against is None:
        before = BatchDecisions(archived.categories, np.empty(0, np.float32), archived.flags, archived.levels)
    else:
        before, _ = _decide(plan.against, block, archived.unseen)
    pairs = _pairs(before.decisions, after.decisions)
    _count(pairs[kept], counts.decisions)
    names = sorted({*before.categories, *after.categories})
    columns = {name: _pairs(_column(before, name), _column(after, name)) for name in names}
    for name, pair in columns.items():
        _count(pair[kept], counts.categories, name)
    days = archived.days.astype("datetime64[D]")
    for day in np.unique(days[kept]):
        _count(pairs[kept & (days == day)], counts.days, str(day))
    _sample(counts, pairs, kept, before, after, block.verdict_ids[image_starts(block)[:-1]])
    return counts


def _decide(
    policy: ArchivePolicy, block: "EvidenceBlock", unseen: NDArray[np.bool_]
) -> tuple[BatchDecisions, Mapping[str, NDArray[np.bool_]]]:
    """Return decisions, and the reasons why images are not computable."""
    number = len(unseen)
    names = tuple(policy.policy.categories)
    space = (block.space.model, block.space.revision, block.space.preprocessing)
    identity = policy.identity
    if space != (identity.id, identity.revision, identity.preprocessing):
        nothing = np.full((number, len(names)), NOT_COMPUTABLE, np.int8)
        scores = np.full(nothing.shape, np.nan, np.float32)
        found = BatchDecisions(names, scores, nothing, np.full(number, NOT_COMPUTABLE, np.int8))
        return found, {f"the embedding is of another encoder: {block.space.model}": np.ones(number, np.bool_)}
    images = image_block(policy, block)
    found = decide_block(policy.compiled, images)
    reasons = {
        f"the signal {name} was not read": np.isnan(values)
        for name, values in images.signals.items()
        if np.isnan(values).any()
    }
    prompts = [names.index(name) for name in policy.compiled.layout.categories]
    if (broken := (found.levels[:, prompts] == NOT_COMPUTABLE).any(axis=1)).any():
        reasons["the embedding is damaged"] = broken
    if policy.opinions:
        found, unasked = apply_opinions(policy, block, images, found)
        reasons["no second opinion was asked"] = unasked
    raised = np.where(unseen & (found.decisions == 0), np.int8(1), found.decisions)
    return BatchDecisions(names, found.scores, found.levels, raised), reasons


def _pairs(before: Levels, after: Levels) -> NDArray[np.int64]:
    """Return one number for each pair of levels; see `_count`."""
    numbers: NDArray[np.int64] = (before & 3).astype(np.int64) * 4 + (after & 3)
    return numbers


def _count(pairs: NDArray[np.int64], into: Counter[Any], *key: str) -> None:
    for number, count in enumerate(np.bincount(pairs, minlength=16).tolist()):
        if count:
            into[*key, OUTCOMES[number // 4], OUTCOMES[number % 4]] += count


def _column(decisions: BatchDecisions, name: str) -> Levels:
    """Return the levels of a category; 0 where there is no such category."""
    if name not in decisions.categories:
        return np.zeros(len(decisions.decisions), np.int8)
    return decisions.levels[:, decisions.categories.index(name)]


def _sample(
    counts: BacktestCounts,
    pairs: NDArray[np.int64],
    kept: NDArray[np.bool_],
    before: BatchDecisions,
    after: BatchDecisions,
    ids: NDArray[np.int64],
) -> None:
    ranks = ids.astype(np.uint64) * _SCATTER
    for number in np.flatnonzero(np.bincount(pairs[kept], minlength=16)).tolist():
        kind = OUTCOMES[number // 4], OUTCOMES[number % 4]
        if kind[0] == kind[1] or OUTCOMES[-1] in kind:
            continue
        images = np.flatnonzero((pairs == number) & kept)
        chosen = images[np.argsort(ranks[images], kind="stable")[:SAMPLES_MAX]]
        counts.samples[kind] = [
            Flip(int(ids[image]), *kind, *_decider(before, after, image), int(ranks[image]))
            for image in chosen.tolist()
        ]


def _decider(before: BatchDecisions, after: BatchDecisions, image: int) -> tuple[str, float | None]:
    source = after if after.decisions[image] > 0 or not before.levels[image].any() else before
    key = source.levels[image].astype(np.float64)
    if source is after:
        key += np.nan_to_num(after.scores[image]) * 0.5  # of the severest decision, then of the highest score
    name = source.categories[int(np.argmax(key))]
    if name not in after.categories:
        return name, None
    score = float(after.scores[image, after.categories.index(name)])
    return name, None if np.isnan(score) else score
