"""The report of a tuning as an HTML file."""

from collections.abc import Sequence

from moderator.reports.blocks import BarChart, Bars, DataTable
from moderator.reports.page import Report
from moderator.tuning.evaluation_metrics import Estimate
from moderator.tuning.evaluation_texts import percent, share_text
from moderator.tuning.tuning_run import TuningResult
from moderator.tuning.tuning_texts import changes_of, macro_text, sentences


def tuning_report(result: TuningResult, base: str, draft: str, facts: Sequence[tuple[str, str]]) -> Report:
    """Return the report of a tuning.

    Args:
        result: of the tuning.
        base: reference of the version that it started from.
        draft: that of the draft.
        facts: what it was made from.
    """
    summary = [
        ("Found at 5 % false alarms, before", macro_text(result.before)),
        ("Now", macro_text(result.after)),
        ("Safe images flagged, before", percent(result.safe_before.value, 1)),
        ("Now", percent(result.safe_after.value, 1)),
        ("Combinations compared", f"{result.tried:,}"),
    ]
    report = Report(
        f"Tuning of {base}", summary, f"{draft} is a draft. " + " ".join(sentences(result)), facts
    )
    names = [name for name, one in result.categories.items() if one.before.recall.value is not None]
    if names:
        series = [
            _bars("before", [result.categories[name].before.recall for name in names]),
            _bars("now", [result.categories[name].after.recall for name in names]),
            _bars("estimated", [result.categories[name].estimated for name in names]),
        ]
        chart = BarChart("Found where 5 % of other images are flagged", names, series, x_range=(0.0, 1.0))
        report.section(
            "What is found",
            chart,
            text="Before and now: on images that nothing was chosen on. Estimated: from the others, by cross-fitting.",
        )
    rows = [
        (
            name,
            share_text(one.before.found),
            share_text(one.after.found),
            share_text(one.before.false_alarms),
            share_text(one.after.false_alarms),
        )
        for name, one in result.categories.items()
    ]
    columns = ("category", "found before", "found now", "false alarms before", "false alarms now")
    report.section(
        f"Thresholds for {result.target.text}", DataTable("By category, with 95 % intervals", columns, rows)
    )
    changed = [(name, line) for name, one in result.categories.items() for line in changes_of(one)]
    if changed:
        report.section("Changes besides thresholds", DataTable("Changes", ("category", "change"), changed))
    return report


def _bars(name: str, estimates: Sequence[Estimate]) -> Bars:
    values = [one.value or 0.0 for one in estimates]
    return Bars(
        name,
        values,
        [value if one.low is None else one.low for one, value in zip(estimates, values, strict=True)],
        [value if one.high is None else one.high for one, value in zip(estimates, values, strict=True)],
    )
