"""The report of a back-test: what changes, for whom, and some of the images."""

from collections.abc import Mapping, Sequence

from moderator.reports.blocks import (
    BarChart,
    Bars,
    ContactSheet,
    DataTable,
    LineChart,
    Series,
    SheetItem,
    Tone,
)
from moderator.reports.page import Report
from moderator.tuning.backtest import BacktestResult
from moderator.tuning.backtest_counts import OUTCOMES, BacktestPlan
from moderator.tuning.backtest_record import (
    against_name,
    category_rows,
    day_rows,
    flip_counts,
    not_computable,
    sentence,
)

_TONES: tuple[Tone, ...] = ("allow", "review", "block", "quiet")
_CATEGORY_TEXT = (
    "An image counts in each category that reaches review or block. Stricter: the category now reaches a more "
    "severe decision than before. A category that one of the two policies does not have counts there as allowed."
)
_LOAD_TEXT = "Both sides count the same images: those for which the decision is computable."
_MISSING_TEXT = (
    "No decision is guessed: a policy that needs a signal which was not read then, or an embedding of another "
    "encoder, decides nothing about these images. An image may have several reasons."
)
_SAMPLES_TEXT = "Chosen by a hash of their numbers, so that the same back-test shows the same images."


def backtest_report(
    result: BacktestResult,
    plan: BacktestPlan,
    samples: Mapping[tuple[str, str], Sequence[SheetItem]],
    facts: Sequence[tuple[str, str]] = (),
) -> Report:
    """Return the report.

    Args:
        result: of the back-test.
        plan: of the back-test.
        samples: images of each kind of flip.
        facts: what it was made from, for the end of the page.
    """
    flips, days = flip_counts(result), day_rows(result)
    number = max(len(days), 1)
    per_day = [sum(row[column] for row in days) / number for column in (2, 3)]  # type: ignore[misc]
    blocks = [sum(count for (a, b), count in flips.items() if b == "block"), flips_to_allow(result)]
    summary = [
        ("images change their decision", f"{result.counts.flips():,}"),
        ("are blocked that were not", f"{blocks[0]:,}"),
        ("are allowed that were not", f"{blocks[1]:,}"),
        ("to review a day, before → after", f"{per_day[0]:,.0f} → {per_day[1]:,.0f}"),
    ]
    title = f"{plan.policy.policy.reference} against {against_name(plan)}"
    report = Report(title, summary, sentence(result, plan), facts)
    report.section("What changes", *_changes(result, flips))
    report.section("By category", *_categories(result), text=_CATEGORY_TEXT)
    report.section("Work for people", *_load(days), text=_LOAD_TEXT)
    if missing := not_computable(result):
        rows = sorted(result.counts.reasons.items(), key=lambda item: -item[1])
        table = DataTable(f"Why {missing:,} images are not computable", ["reason", "images"], rows)
        report.section("Not computable", table, text=_MISSING_TEXT)
    sheets = [
        ContactSheet(f"{before} → {after}: {len(samples[kind])} of {count:,}", samples[kind])
        for kind, count in flips.items()
        if samples.get(kind)
        for before, after in (kind,)
    ]
    if sheets:
        report.section("Some of these images", *sheets, text=_SAMPLES_TEXT)
    return report


def flips_to_allow(result: BacktestResult) -> int:
    """Return the number of images that are allowed now and were not."""
    return sum(count for (_, after), count in flip_counts(result).items() if after == OUTCOMES[0])


def _changes(result: BacktestResult, flips: Mapping[tuple[str, str], int]) -> list[BarChart | DataTable]:
    before = dict.fromkeys(OUTCOMES, 0)
    after = dict(before)
    for (a, b), count in result.counts.decisions.items():
        before[a] += count
        after[b] += count
    total = max(result.counts.images, 1)
    bars = [
        Bars(name, [100 * side[name] / total for side in (before, after)], tone=tone)
        for name, tone in zip(OUTCOMES, _TONES, strict=True)
        if before[name] or after[name]
    ]
    chart = BarChart(
        "Decisions before and after",
        ["before", "after"],
        bars,
        x_label="share of the images, %",
        stacked=True,
        x_range=(0.0, 100.0),
    )
    rows = [(a, b, count, f"{100 * count / total:.2g} %") for (a, b), count in flips.items()]
    return [chart, DataTable("Changed decisions", ["before", "after", "images", "share"], rows)]


def _categories(result: BacktestResult) -> list[BarChart | DataTable]:
    rows = category_rows(result)
    chart = BarChart(
        "Images that reach review or block",
        [row[0] for row in rows],
        [
            Bars("before", [row[1] for row in rows], tone="quiet"),
            Bars("after", [row[2] for row in rows], tone="accent"),
        ],
        x_label="images",
    )
    columns = ["category", "before", "after", "stricter", "milder"]
    return [*([chart] if rows else []), DataTable("Images by category", columns, rows)]


def _load(days: Sequence[tuple[str, int, int, int, int, int, int]]) -> list[LineChart | DataTable]:
    columns = ["day", "images", "review before", "after", "block before", "after", "not computable"]
    table = DataTable("Decisions by day (UTC)", columns, days)
    if len(days) < 2:
        return [table]
    x = list(range(1, len(days) + 1))
    chart = LineChart(
        "To review, by day",
        f"day, from {days[0][0]} to {days[-1][0]}",
        "images",
        [
            Series("before", x, [row[2] for row in days], tone="quiet"),
            Series("after", x, [row[3] for row in days], tone="review"),
        ],
    )
    return [chart, table]
