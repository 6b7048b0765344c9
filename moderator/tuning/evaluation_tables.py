"""The tables of an evaluation. Pure."""

from moderator.reports.blocks import Cell, DataTable
from moderator.tuning.evaluation import ALARM_SHARES, CategoryFigures, Evaluation
from moderator.tuning.evaluation_load import ReviewLoad
from moderator.tuning.evaluation_slices import Slices
from moderator.tuning.evaluation_texts import (
    MISSING,
    count_text,
    figure_text,
    gap_text,
    percent,
    share_text,
)


def decisions_table(evaluation: Evaluation) -> DataTable:
    """Return the confusion of decisions and truth, by images."""
    named = [("all together", evaluation.unsafe, evaluation.safe)]
    named += [(f"{name} alone", one.shown, one.others) for name, one in evaluation.categories.items()]
    rows: list[list[Cell]] = [
        [name, *(number for one in counts for number in (one.total, one.allow, one.review, one.block))]
        for name, *counts in named
    ]
    decisions = ["allowed", "to review", "blocked"]
    columns = ["category", "images that show it", *decisions, "images that do not", *decisions]
    return DataTable("Decisions against truth", columns, rows)


def figures_table(evaluation: Evaluation) -> DataTable:
    """Return how well the thresholds of each category do."""
    rows: list[list[Cell]] = [
        [
            name,
            figures.shown.total,
            share_text(figures.flagged.recall),
            share_text(figures.flagged.false_alarms),
            share_text(figures.flagged.precision),
            MISSING if figures.flagged.f1 is None else f"{figures.flagged.f1:.2f}",
        ]
        for name, figures in _named(evaluation)
    ]
    columns = ["category", "images", "found", "flagged falsely", "precision", "F1"]
    return DataTable("With the thresholds of this version; review counts as found", columns, rows)


def ranking_table(evaluation: Evaluation) -> DataTable:
    """Return how well the scores of each category separate, whatever the thresholds."""
    rows: list[list[Cell]] = [
        [
            name,
            figure_text(figures.ranking.roc_auc),
            figure_text(figures.ranking.average_precision),
            *(share_text(recall) for recall in figures.ranking.recall_at),
            MISSING
            if figures.calibration_error is None or not figures.shown.total
            else f"{figures.calibration_error:.3f}",
        ]
        for name, figures in _named(evaluation)
    ]
    columns = ["category", "ROC-AUC", "average precision"]
    columns += [f"found at {percent(alarms)} false alarms" for alarms in ALARM_SHARES]
    return DataTable("Whatever the thresholds", [*columns, "calibration error"], rows)


def _named(evaluation: Evaluation) -> list[tuple[str, CategoryFigures]]:
    return [*evaluation.categories.items(), ("any category", evaluation.overall)]


def load_table(load: ReviewLoad) -> DataTable:
    """Return how many images people would look at."""
    rows: list[list[str]] = [
        ["mixed as in this set", share_text(load.review), share_text(load.block)],
        ["all safe", share_text(load.safe_review), share_text(load.safe_block)],
    ]
    columns = ["uploads", "go to review", "blocked"]
    if load.uploads_per_day is not None:
        columns += ["reviews a day", "wrong blocks a day"]
        rows[0] += [count_text(load.review_per_day), MISSING]
        rows[1] += [count_text(load.safe_review_per_day), count_text(load.safe_block_per_day)]
    uploads = f" at {load.uploads_per_day:,} uploads a day" if load.uploads_per_day is not None else ""
    return DataTable(f"Load on people{uploads}", columns, rows)


def slices_table(slices: Slices) -> DataTable:
    """Return the mistakes by the values of a column."""
    rows: list[list[Cell]] = [
        [
            one.value,
            one.safe,
            share_text(one.alarms),
            gap_text(one.alarms_gap),
            one.unsafe,
            share_text(one.missed),
            gap_text(one.missed_gap),
        ]
        for one in slices.slices
    ]
    columns = [slices.column, "safe", "flagged falsely", "against the rest, points"]
    columns += ["show something", "missed", "against the rest, points"]
    return DataTable(f"Mistakes by {slices.column}", columns, rows)
