"""Second opinions that the archive kept: they count where a policy would ask exactly the same."""

import json
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moderator.errors import ModeratorError
from moderator.scoring.batch_decisions import NOT_COMPUTABLE, BatchDecisions, ImageBlock
from moderator.scoring.opinions import Opinion, questions, with_opinions
from moderator.scoring.thresholds import SEVERITY, judge
from moderator.signals.evaluator import restored
from moderator.signals.question import opinion_key
from moderator.tuning.archived_images import ArchivePolicy
from moderator.view import rows_of

if TYPE_CHECKING:
    from moderator.archive.segment_file import EvidenceBlock


def apply_opinions(
    policy: ArchivePolicy, block: "EvidenceBlock", images: ImageBlock, found: BatchDecisions
) -> tuple[BatchDecisions, NDArray[np.bool_]]:
    """Return decisions with second opinions, and for which images one is due that nobody gave [n].

    Only images in review are asked about, so each of them is judged by itself.

    Args:
        policy: with second opinions.
        block: the evidence.
        images: the same as images.
        found: decisions without second opinions.
    """
    levels, decisions = found.levels.copy(), found.decisions.copy()
    unasked = np.zeros(len(decisions), np.bool_)
    for image in np.flatnonzero(decisions == 1).tolist():
        outcome = _with_opinion(policy, block, images, image)
        unasked[image] = outcome is None
        if outcome is None:
            decisions[image] = NOT_COMPUTABLE
        else:
            levels[image], decisions[image] = outcome
    return BatchDecisions(found.categories, found.scores, levels, decisions), unasked


def _with_opinion(
    policy: ArchivePolicy, block: "EvidenceBlock", images: ImageBlock, image: int
) -> tuple[list[int], int] | None:
    """Return levels and decision of an image in review; None: the opinion on it is missing."""
    start, end = images.starts[image : image + 2].tolist()
    rows = images.embeddings[start:end].astype(np.float32)
    views = () if images.views is None else images.views[start:end]
    if views:
        chosen = rows_of(policy.policy.view_plan(len(views)), views)
        rows, views = rows[chosen], [views[row] for row in chosen]
    scores = {name: float(values[image]) for name, values in images.signals.items()}
    unsure = frozenset(name for name, doubts in images.unsure.items() if doubts[image])
    judgement = judge(policy.compiled, rows, scores, unsure, views, images.unasked)
    asked = questions(policy.compiled, judgement, unsure)
    if asked:
        readings = restored(json.loads(block.readings[start] or "{}"))
        given = {name: readings.get(opinion_key(key, asked)) for name, key in policy.opinions.items()}
        if None in given.values():
            return None
        opinions = {
            name: Opinion()
            if one is None or isinstance(one, ModeratorError)
            else Opinion(one.score, one.unsure, one.clears)
            for name, one in given.items()
        }
        judgement = with_opinions(policy.compiled, judgement, opinions, unsure)
    levels = [SEVERITY.index(category.decision) for category in judgement.categories.values()]
    return levels, SEVERITY.index(judgement.decision)
