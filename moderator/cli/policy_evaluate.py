"""`moderator policy evaluate`: what a version of a policy does to labelled images."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from moderator.cli.options import (
    JsonOption,
    PoliciesOption,
    counting,
    loading,
    policy_reference,
    policy_settings,
)
from moderator.cli.output import console, errors, plain, print_json

if TYPE_CHECKING:
    from moderator.policies.schema import Policy
    from moderator.tuning.evaluation import Evaluation
    from moderator.tuning.labelled_images import LabelledImages

_FAILURES_SHOWN_MAX = 10
LabelledOption = Annotated[
    Path,
    typer.Option(
        help="CSV with path and label (or category; several separated by ;), or a folder with a folder of images "
        "per label. The label of other images is safe, none, or empty."
    ),
]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="LABEL=CATEGORY", help="What a label means: a category, or safe. Repeatable."
    ),
]
IgnoreOption = Annotated[
    list[str] | None,
    typer.Option("--ignore", metavar="LABEL", help="A label that says nothing about the policy. Repeatable."),
]


def evaluate(
    reference: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="Drafts, too. Without a version: the active one.")
    ],
    data: LabelledOption,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", dir_okay=False, help="Write a report with charts and pictures."
        ),
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="COLUMN", help="Compare images by a column of the CSV. Repeatable."),
    ] = None,
    mapped: MapOption = None,
    ignored: IgnoreOption = None,
    worst: Annotated[int, typer.Option(min=0, max=500, help="Mistakes shown of each kind.")] = 12,
    per_day: Annotated[
        int | None,
        typer.Option("--per-day", min=1, metavar="UPLOADS", help="Uploads a day, for the review load."),
    ] = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a version of a policy on labelled images: what it finds, misses, and flags falsely.

    Images are judged as a worker judges them. Embeddings are kept in the cache, so that a second run takes seconds.

    Examples:

      moderator policy evaluate marketplace@4 --data labels.csv --html report.html

      moderator policy evaluate marketplace --data photos/ --map rifle=weapons --ignore blurred --json

      moderator policy evaluate marketplace@4 --data labels.csv --slice source --per-day 20000
    """
    name, version = policy_reference(reference)
    mapping = label_map(mapped)

    from moderator.tuning.evaluation import evaluate as measure
    from moderator.tuning.evaluation_load import review_load
    from moderator.tuning.evaluation_mistakes import worst_mistakes
    from moderator.tuning.evaluation_record import record_of
    from moderator.tuning.labelled_images import load_labelled, open_engine

    if html is not None:
        from moderator.tuning.evaluation_report import (
            evaluation_report,
        )  # what it needs, it misses before the work
        from moderator.tuning.file_thumbnails import file_thumbnails

    settings = policy_settings(policies)
    with ExitStack() as stack:
        with loading():
            engine = stack.enter_context(open_engine(settings))
        policy = engine.catalogue.get(name, version)
        compiled = engine.compiler.compile(policy)
        with counting("judging", as_json) as progress:
            images = load_labelled(
                data,
                engine,
                [policy],
                progress=progress,
                mapping=mapping,
                ignored=frozenset(ignored or ()),
            )
        report_failures(images)
        evaluation = measure(compiled, images, slice_by=slices or ())
        mistakes = worst_mistakes(compiled, images, evaluation, worst)
        load = review_load(evaluation, per_day)
        if html is not None:
            paths = [one.path for one in (*mistakes.alarms, *mistakes.missed)]
            thumbnails = dict(zip(paths, file_thumbnails(engine, paths), strict=True))
            notes = _notes(policy, images)
            facts = _facts(evaluation, images, data)
            page = evaluation_report(evaluation, mistakes, load, thumbnails, images.failed, facts, notes)
            page.write(html)
    if as_json:
        print_json(record_of(evaluation, images, mistakes, load))
        return
    console.print(plain(evaluation.sentence), soft_wrap=True)
    console.print(_table(evaluation))
    if html is not None:
        console.print(plain(f"report: {html}"), soft_wrap=True)


def label_map(texts: list[str] | None) -> dict[str, str]:
    """Return what labels mean, from `LABEL=CATEGORY`; anything else is a usage error and ends with 2."""
    return dict(_pair(text) for text in texts or ())


def _pair(text: str) -> tuple[str, str]:
    label, separator, category = (part.strip() for part in text.rpartition("="))
    if not separator or not label or not category:
        raise typer.BadParameter(f"--map {text!r}: write LABEL=CATEGORY, such as rifle=weapons")
    return label, category


def report_failures(images: "LabelledImages") -> None:
    """List images that could not be judged on standard error."""
    for path, reason in images.failed[:_FAILURES_SHOWN_MAX]:
        errors.print(plain(f"{path}: {reason}"), style="yellow", soft_wrap=True)
    if len(images.failed) > _FAILURES_SHOWN_MAX:
        more = len(images.failed) - _FAILURES_SHOWN_MAX
        errors.print(f"and {more} more that cannot be judged; --json lists all", style="yellow")


def _notes(policy: "Policy", images: "LabelledImages") -> list[str]:
    from moderator.signals.evaluator import Moment, due

    notes = []
    if images.failed:
        count = len(images.failed)
        notes.append(
            f"{count:,} more image{' is' if count == 1 else 's are'} left out, which could not be judged."
        )
    if due([policy], Moment.REVIEW):
        notes.append("Second opinions were not asked: what they would clear or block counts as review.")
    return notes


def _facts(evaluation: "Evaluation", images: "LabelledImages", data: Path) -> list[tuple[str, str]]:
    return [
        ("Policy", f"{evaluation.policy}, digest {evaluation.digest[:12]}"),
        ("Encoder", f"{images.identity.id}, revision {images.identity.revision[:24]}"),
        ("Images", f"{evaluation.images:,} from {data.name}; {len(images.failed):,} could not be judged"),
        ("Made", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by moderator policy evaluate"),
    ]


def _table(evaluation: "Evaluation") -> Table:
    from moderator.tuning.evaluation_texts import MISSING, percent

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("category", overflow="fold")
    for heading in ("images", "found", "false alarms", "precision", "ROC-AUC", "found at 5 %"):
        table.add_column(heading, justify="right")
    for name, figures in [*evaluation.categories.items(), ("any category", evaluation.overall)]:
        ranking, flagged = figures.ranking, figures.flagged
        table.add_row(
            plain(name),
            f"{figures.shown.total:,}",
            percent(flagged.recall.value),
            percent(flagged.false_alarms.value, 1),
            percent(flagged.precision.value),
            MISSING if ranking.roc_auc.value is None else f"{ranking.roc_auc.value:.3f}",
            percent(ranking.recall_at[1].value),
        )
    return table
