"""The charts and tables of an evaluation. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from moderator.reports.blocks import (
    BarChart,
    Bars,
    ChartMark,
    ContactSheet,
    Histogram,
    LineChart,
    Series,
    SheetItem,
    Tone,
)
from moderator.tuning.evaluation import (
    CategoryFigures,
    DecisionCounts,
    Evaluation,
    OperatingPoint,
)
from moderator.tuning.evaluation_curves import point_cost
from moderator.tuning.evaluation_metrics import Estimate
from moderator.tuning.evaluation_mistakes import Mistake
from moderator.tuning.evaluation_texts import (
    percent,
)
from moderator.verdicts import Decision

_SHARE_AXIS = (0.0, 100.0)
_DECIDED = {
    Decision.ALLOW: "allowed, with only",
    Decision.REVIEW: "to review, by",
    Decision.BLOCK: "blocked, by",
}


def decisions_chart(evaluation: Evaluation) -> BarChart:
    """Return what would happen to the images of each kind."""
    groups = [("safe", evaluation.safe)] + [
        (name, figures.shown) for name, figures in evaluation.categories.items() if figures.shown.total
    ]
    return BarChart(
        "What would happen to images that show …",
        [f"{name} ({counts.total:,})" for name, counts in groups],
        [
            Bars("let through", [_percent(counts.allow, counts) for _, counts in groups], tone="allow"),
            Bars("review", [_percent(counts.review, counts) for _, counts in groups], tone="review"),
            Bars("blocked", [_percent(counts.block, counts) for _, counts in groups], tone="block"),
        ],
        x_label="share of these images, %",
        stacked=True,
        x_range=_SHARE_AXIS,
    )


def found_chart(evaluation: Evaluation) -> BarChart:
    """Return how much each category finds and flags falsely."""
    named = [
        (name if one.shown.total else f"{name} (not shown)", one.flagged)
        for name, one in evaluation.categories.items()
    ]
    found = [point.recall for _, point in named]
    alarms = [point.false_alarms for _, point in named]
    return BarChart(
        "Found, and flagged falsely, by each category",
        [name for name, _ in named],
        [
            Bars("found", *_percents(found), tone="accent"),
            Bars("flagged falsely, of all other images", *_percents(alarms), tone="block"),
        ],
        x_label="share, %, with 95 % intervals",
        x_range=_SHARE_AXIS,
    )


def category_charts(name: str, figures: CategoryFigures) -> list[Histogram | LineChart]:
    """Return the charts of one category: scores, other thresholds, calibration, cost."""
    marks = []
    if figures.review is not None:
        marks.append(ChartMark(figures.review, f"review {figures.review:g}", "review"))
    if figures.block is not None:
        marks.append(ChartMark(figures.block, f"block {figures.block:g}", "block"))
    charts: list[Histogram | LineChart] = [_scores(name, figures, marks), _sweep(figures, marks)]
    if figures.calibration:
        charts.append(_reliability(name, figures))
    if figures.cost is not None:
        charts.append(_cost(figures))
    return charts


def mistakes_sheet(
    title: str, mistakes: Iterable[Mistake], thumbnails: Mapping[Path, bytes | None], text: str = ""
) -> ContactSheet:
    """Return pictures of mistakes with the prompts that made them."""
    return ContactSheet(title, [_item(one, thumbnails.get(one.path)) for one in mistakes], text)


def _item(mistake: Mistake, picture: bytes | None) -> SheetItem:
    shown = f"shows {', '.join(mistake.shows)}" if mistake.shows else "labelled safe"
    facts = [f"{shown}; {_DECIDED[mistake.decision]} {mistake.category} {mistake.score:.2f}"]
    if mistake.top_prompts:
        prompts = [f"{one.prompt} ({one.side}, {percent(one.probability)})" for one in mistake.top_prompts]
        facts.append(f"nearest: {'; '.join(prompts)}")
    if mistake.view is not None:
        facts.append(f"seen in a part: {mistake.view.name}")
    return SheetItem(picture, mistake.path.name, facts)


def _scores(name: str, figures: CategoryFigures, marks: list[ChartMark]) -> Histogram:
    shown, others = figures.shown_histogram, figures.others_histogram
    strips = [
        Bars(f"{figures.shown.total:,} images that show {name}", shown.tolist(), tone="accent"),
        Bars(
            f"{figures.others.total:,} {'others' if figures.shown.total else 'images'}",
            others.tolist(),
            tone="quiet",
        ),
    ]
    return Histogram(
        f"Scores of {name}, and the thresholds",
        np.linspace(0, 1, len(shown) + 1).tolist(),
        [strip for strip in strips if any(strip.values)],
        marks,
        x_label="score",
    )


def _sweep(figures: CategoryFigures, marks: list[ChartMark]) -> LineChart:
    sweep = figures.sweep
    x = sweep.thresholds.tolist()
    series = []
    if not np.isnan(sweep.found).any():
        series.append(Series("found", x, (100 * sweep.found).tolist(), tone="accent"))
    if not np.isnan(sweep.alarms).any():
        series.append(Series("others flagged falsely", x, (100 * sweep.alarms).tolist(), tone="block"))
    return LineChart(
        "What another threshold would do",
        "threshold",
        "share, %",
        series,
        marks,
        x_range=(0, 1),
        y_range=_SHARE_AXIS,
    )


def _reliability(name: str, figures: CategoryFigures) -> LineChart:
    bins = figures.calibration
    error = figures.calibration_error or 0.0
    return LineChart(
        f"Calibration: expected error {error:.2f}",
        "score",
        f"share that shows {name}, %",
        [
            Series("as the score says", [0, 1], [0, 100], tone="guide"),
            Series(
                "measured",
                [one.mean_score for one in bins],
                [100 * (one.share.value or 0) for one in bins],
                [100 * (one.share.low or 0) for one in bins],
                [100 * (one.share.high or 0) for one in bins],
                tone="accent",
                points=True,
            ),
        ],
        x_range=(0, 1),
        y_range=_SHARE_AXIS,
    )


def _cost(figures: CategoryFigures) -> LineChart:
    assert figures.cost is not None
    weights = figures.cost.weights
    series = [
        Series(
            "flag nothing, or everything",
            weights.tolist(),
            np.minimum(weights, 1 - weights).tolist(),
            tone="guide",
        ),
        Series("the best threshold", weights.tolist(), figures.cost.best.tolist(), tone="quiet"),
    ]
    points: list[tuple[Tone, float | None, OperatingPoint]] = [
        ("review", figures.review, figures.flagged),
        ("block", figures.block, figures.blocked),
    ]
    for tone, threshold, point in points:
        found, alarms = point.recall.value, point.false_alarms.value
        if threshold is not None and found is not None and alarms is not None:
            costs = point_cost(weights, found, alarms)
            series.append(Series(f"{tone} at {threshold:g}", weights.tolist(), costs.tolist(), tone=tone))
    return LineChart(
        "Cost, as misses weigh more",
        "weight of a miss against a false alarm",
        "expected cost",
        series,
        x_range=(0, 1),
        y_range=(0, max(0.5, *(max(one.y) for one in series))),
    )


def _percent(count: int, counts: DecisionCounts) -> float:
    return 100 * count / counts.total if counts.total else 0.0


def _percents(estimates: Sequence[Estimate]) -> tuple[list[float], list[float], list[float]]:
    return (
        [100 * (one.value or 0) for one in estimates],
        [100 * (one.low or 0) for one in estimates],
        [100 * (one.high or 0) for one in estimates],
    )
