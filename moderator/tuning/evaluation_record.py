"""An evaluation as one JSON object, which `docs/evaluate.md` documents. Pure."""

import math
from dataclasses import asdict
from typing import Any

from moderator.printable import printable
from moderator.tuning.evaluation import (
    ALARM_SHARES,
    CategoryFigures,
    DecisionCounts,
    Evaluation,
    OperatingPoint,
)
from moderator.tuning.evaluation_load import ReviewLoad
from moderator.tuning.evaluation_mistakes import Mistake, Mistakes
from moderator.tuning.labelled_images import LabelledImages

#: Rises when a field changes its meaning or goes; new fields may come without.
RECORD_VERSION = 1


def record_of(
    evaluation: Evaluation, images: LabelledImages, mistakes: Mistakes, load: ReviewLoad
) -> dict[str, Any]:
    """Return the object: numbers, texts and lists alone, with None where the images say nothing."""
    return {
        "format": RECORD_VERSION,
        "policy": evaluation.policy,
        "digest": evaluation.digest,
        "encoder": asdict(images.identity),
        "images": evaluation.images,
        "failed": [{"path": _text(path), "reason": _text(reason)} for path, reason in images.failed],
        "summary": evaluation.sentence,
        "safe": _counts(evaluation.safe),
        "unsafe": _counts(evaluation.unsafe),
        "load": asdict(load),
        "overall": _figures(evaluation.overall),
        "categories": {name: _figures(figures) for name, figures in evaluation.categories.items()},
        "slices": {one.column: [asdict(part) for part in one.slices] for one in evaluation.slices},
        "mistakes": {
            "false_alarms": mistakes.alarms_total,
            "missed": mistakes.missed_total,
            "worst_false_alarms": [_mistake(one) for one in mistakes.alarms],
            "worst_missed": [_mistake(one) for one in mistakes.missed],
        },
    }


def _figures(figures: CategoryFigures) -> dict[str, Any]:
    ranking, cost = figures.ranking, figures.cost
    return {
        "review": figures.review,
        "block": figures.block,
        "shown": _counts(figures.shown),
        "others": _counts(figures.others),
        "not_computable": figures.not_computable,
        "flagged": _point(figures.flagged),
        "blocked": _point(figures.blocked),
        "roc_auc": asdict(ranking.roc_auc),
        "average_precision": asdict(ranking.average_precision),
        "recall_at": [
            {"false_alarms": alarms, "recall": asdict(recall), "threshold": threshold}
            for alarms, recall, threshold in zip(
                ALARM_SHARES, ranking.recall_at, ranking.thresholds, strict=True
            )
        ],
        "calibration": {
            "expected_error": figures.calibration_error,
            "bins": [asdict(one) for one in figures.calibration],
        },
        "sweep": {
            "threshold": _numbers(figures.sweep.thresholds),
            "recall": _numbers(figures.sweep.found),
            "false_alarms": _numbers(figures.sweep.alarms),
        },
        "cost": None if cost is None else {"weight": _numbers(cost.weights), "best": _numbers(cost.best)},
        "histogram": {
            "shown": figures.shown_histogram.tolist(),
            "others": figures.others_histogram.tolist(),
        },
    }


def _counts(counts: DecisionCounts) -> dict[str, int]:
    return {**asdict(counts), "total": counts.total}


def _point(point: OperatingPoint) -> dict[str, Any]:
    return asdict(point)


def _mistake(mistake: Mistake) -> dict[str, Any]:
    return {
        "path": _text(mistake.path),
        "shows": list(mistake.shows),
        "category": mistake.category,
        "decision": str(mistake.decision),
        "score": mistake.score,
        "top_prompts": [asdict(one) for one in mistake.top_prompts],
        "view": None if mistake.view is None else asdict(mistake.view),
    }


def _numbers(values: Any) -> list[float | None]:
    return [None if math.isnan(value) else round(float(value), 6) for value in values]


def _text(value: object) -> str:
    """Return a text that JSON can carry: file names need not be UTF-8."""
    return printable(str(value), "\N{REPLACEMENT CHARACTER}")
