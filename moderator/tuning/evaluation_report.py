"""The report of an evaluation: what its reader needs, in the order of the questions that come up. Pure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from moderator.reports.blocks import DataTable
from moderator.reports.page import Report
from moderator.tuning.evaluation import CategoryFigures, Evaluation
from moderator.tuning.evaluation_charts import (
    category_charts,
    decisions_chart,
    found_chart,
    mistakes_sheet,
)
from moderator.tuning.evaluation_load import ReviewLoad
from moderator.tuning.evaluation_mistakes import Mistakes
from moderator.tuning.evaluation_tables import (
    decisions_table,
    figures_table,
    load_table,
    ranking_table,
    slices_table,
)
from moderator.tuning.evaluation_texts import figure_text, share_text

_FAILURES_MAX = 50
_FIGURES_TEXT = (
    "Found: of the images that show a category, the share that it blocks or sends to review. Flagged falsely:"
    " of all other images, the share that it blocks or sends to review. Precision: of what it flags, the "
    "share that shows it; it depends on how common the category is, and uploads seldom show as much of it as "
    "a labelled set does. ROC-AUC: how often an image that shows it scores higher than one that does not; 0.5"
    " is chance."
)
_CHARTS_TEXT = (
    "The strips show how scores of both kinds lie to the thresholds: what is left of a threshold in the upper"
    " strip is missed, what is right of it in the lower strip is a false alarm. The cost curve (Drummond and "
    "Holte, 2006) shows which threshold is right for whom: at the left, false alarms are what counts; at the "
    "right, misses are."
)
_SLICES_TEXT = (
    "Each row compares the images of one value with all others. A gap whose interval does not hold 0 is "
    "probably no accident; but of twenty rows without any difference, about one looks as if it had one."
)


def evaluation_report(
    evaluation: Evaluation,
    mistakes: Mistakes,
    load: ReviewLoad,
    thumbnails: Mapping[Path, bytes | None],
    failed: Sequence[tuple[Path, str]] = (),
    facts: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> Report:
    """Return the report.

    Args:
        evaluation: of a version of a policy.
        mistakes: the worst of it.
        load: on people.
        thumbnails: small pictures of the mistakes.
        failed: images that could not be judged, with the reasons.
        facts: what it was made from, for the end of the page.
        notes: what limits it, for its start.
    """
    overall = evaluation.overall
    summary = [
        (f"of {evaluation.safe.total:,} safe images are flagged", share_text(overall.flagged.false_alarms)),
        (f"of {evaluation.unsafe.total:,} that show something are found", share_text(overall.flagged.recall)),
        ("would be found at 5 % false alarms", share_text(overall.ranking.recall_at[1])),
        ("ROC-AUC of the scores", figure_text(overall.ranking.roc_auc)),
    ]
    lead = "\n\n".join([evaluation.sentence, *notes])
    report = Report(f"{evaluation.policy} on {evaluation.images:,} labelled images", summary, lead, facts)
    report.section(
        "Decisions", decisions_chart(evaluation), found_chart(evaluation), decisions_table(evaluation)
    )
    report.section("Figures", figures_table(evaluation), ranking_table(evaluation), text=_FIGURES_TEXT)
    report.section(
        "Work for people",
        load_table(load),
        text="A labelled set mostly shows more of what is looked for than uploads do. Where nearly all uploads are "
        "safe, the row of safe ones is the one to plan with.",
    )
    _mistakes_section(report, mistakes, thumbnails)
    for name, figures in evaluation.categories.items():
        if figures.shown.total:
            report.section(name, *category_charts(name, figures), text=_category_text(name, figures))
    unseen = [name for name, figures in evaluation.categories.items() if not figures.shown.total]
    if unseen:
        report.section(
            "Categories that no image shows",
            *(category_charts(name, evaluation.categories[name])[0] for name in unseen),
            text=f"No image is labelled {_listed(unseen)}: nothing says what is found of it, only what is flagged "
            "falsely. The charts show the scores of all images.",
        )
    if evaluation.slices:
        report.section("Parts of the images", *map(slices_table, evaluation.slices), text=_SLICES_TEXT)
    if failed:
        rows = [[str(path), reason] for path, reason in failed[:_FAILURES_MAX]]
        title = f"{len(failed):,} images that could not be judged"
        report.section("Left out", DataTable(title, ["image", "reason"], rows))
    report.section("How to read the charts", text=_CHARTS_TEXT)
    return report


def _mistakes_section(report: Report, mistakes: Mistakes, thumbnails: Mapping[Path, bytes | None]) -> None:
    sheets = []
    for title, total, some in (
        ("False alarms", mistakes.alarms_total, mistakes.alarms),
        ("Missed", mistakes.missed_total, mistakes.missed),
    ):
        if some:
            number = f"the worst {len(some)} of {total:,}" if total > len(some) else f"all {total:,}"
            sheets.append(mistakes_sheet(f"{title}: {number}", some, thumbnails))
    if mistakes.alarms_total or mistakes.missed_total:
        text = "Look at these first: some may be labelled wrongly, and the prompts below each say what to change."
        report.section("Worst mistakes", *sheets, text=text)
    else:
        report.section("Worst mistakes", text="There are none.")


def _category_text(name: str, figures: CategoryFigures) -> str:
    shown, others = figures.shown, figures.others
    text = (
        f"Of {shown.total:,} images that show {name}, it blocks {shown.block:,}, sends {shown.review:,} to review and "
        f"misses {shown.allow:,}. Of {others.total:,} others it flags {others.flagged:,}, and blocks "
        f"{others.block:,} of them."
    )
    if figures.not_computable:
        text += f" {figures.not_computable:,} images have no score and are left out."
    return text


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
