"""The worst mistakes of an evaluation, and the prompts that made them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moderator.scoring.batch_decisions import ImageBlock
from moderator.scoring.thresholds import SEVERITY, CompiledPolicy, judge
from moderator.tuning.evaluation import Evaluation
from moderator.tuning.labelled_images import LabelledImages
from moderator.verdicts import Decision, TopPrompt
from moderator.view import View, rows_of


@dataclass(frozen=True)
class Mistake:
    """An image that is decided otherwise than its label says."""

    path: Path
    shows: tuple[str, ...]
    category: str
    """The category that flagged it, or of a missed image the one that came nearest to it."""
    decision: Decision
    score: float
    top_prompts: tuple[TopPrompt, ...]
    view: View | None
    """The part of the picture that decided; None: the whole."""


@dataclass(frozen=True)
class Mistakes:
    """Mistakes of both kinds, the worst first, and how many there are of each."""

    alarms: tuple[Mistake, ...]
    """Safe images that would be blocked or go to review."""
    alarms_total: int
    missed: tuple[Mistake, ...]
    """Images that show something not allowed, and would be allowed."""
    missed_total: int


def worst_mistakes(
    compiled: CompiledPolicy, images: LabelledImages, evaluation: Evaluation, most: int
) -> Mistakes:
    """Return the worst mistakes, at most some of each kind.

    Of false alarms, blocks come first, then the highest scores; of missed images, the lowest scores of what they show.
    """
    decided = evaluation.decided
    truth = evaluation.truth
    unsafe = truth.unsafe
    # The category that decides: of the severest level, then of the highest score.
    weights = np.nan_to_num(decided.levels + decided.scores * 0.5, nan=-1)
    deciding = weights.argmax(axis=1)
    alarms = np.flatnonzero(~unsafe & (decided.decisions > 0))
    severity = decided.decisions + np.take_along_axis(weights, deciding[:, None], axis=1)[:, 0]
    alarms = alarms[np.argsort(-severity[alarms], kind="stable")]
    shown_scores = np.where(truth.shows & truth.flagging, np.nan_to_num(decided.scores, nan=-1), -2)
    missed = np.flatnonzero(unsafe & (decided.decisions == 0))
    missed = missed[np.argsort(shown_scores.max(axis=1)[missed], kind="stable")]
    nearest = shown_scores.argmax(axis=1)

    def explained(rows: "np.ndarray[tuple[int], np.dtype[np.int64]]", columns: object) -> Iterator[Mistake]:
        for row in rows[:most]:
            column = int(np.asarray(columns)[row])
            verdict = _explain(
                compiled, images.block_for(compiled.policy), int(row), decided.categories[column]
            )
            yield Mistake(
                path=images.paths[row],
                shows=tuple(sorted(images.shows[row])),
                category=decided.categories[column],
                decision=SEVERITY[decided.decisions[row]],
                score=float(decided.scores[row, column]),
                top_prompts=verdict[0],
                view=verdict[1],
            )

    return Mistakes(
        tuple(explained(alarms, deciding)), len(alarms), tuple(explained(missed, nearest)), len(missed)
    )


def _explain(
    compiled: CompiledPolicy, block: ImageBlock, image: int, category: str
) -> tuple[tuple[TopPrompt, ...], View | None]:
    """Judge one image by itself, as a worker does, for the prompts and the view that decided a category."""
    rows = slice(block.starts[image], block.starts[image + 1])
    embeddings = block.embeddings[rows].astype(np.float32)
    views = () if block.views is None else tuple(block.views[rows])
    if views:
        chosen = rows_of(compiled.policy.view_plan(len(views)), views)
        embeddings, views = embeddings[chosen], tuple(views[row] for row in chosen)
    signals = {name: float(values[image]) for name, values in block.signals.items()}
    unsure = frozenset(name for name, values in block.unsure.items() if values[image])
    verdict = judge(compiled, embeddings, signals, unsure, views).categories[category]
    return verdict.top_prompts, verdict.view
