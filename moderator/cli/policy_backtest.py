"""`moderator policy backtest`: what a version of a policy would have decided on what the archive keeps."""

from contextlib import ExitStack, closing
from enum import StrEnum
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
    read_moment,
)
from moderator.cli.output import console, plain, print_json

if TYPE_CHECKING:
    from moderator.tuning.backtest import BacktestEngine, BacktestResult
    from moderator.tuning.backtest_counts import BacktestPlan


class BacktestEngineName(StrEnum):
    """Where the archive is decided again."""

    THREADS = "threads"
    RAY = "ray"


def backtest(
    reference: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="Drafts, too. Without a version: the active one.")
    ],
    since: Annotated[str | None, typer.Option(help="Decided since: 2026-01-31, or 30d, 12h.")] = None,
    until: Annotated[str | None, typer.Option(help="Decided before: the same.")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@VERSION]",
            help="Compare with what this version would decide. Default: the archive's decisions.",
        ),
    ] = None,
    all_policies: Annotated[
        bool, typer.Option("--all", help="All images. Default: those that a policy of the same name decided.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report with charts and pictures.")
    ] = None,
    engine: Annotated[
        BacktestEngineName, typer.Option(help="`threads`: on this machine. `ray`: on Ray.")
    ] = BacktestEngineName.THREADS,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide the archive again by a version of a policy, and show what changes. It changes no verdict.

    It uses the stored embeddings and signal readings. Where these do not suffice, because a signal was not read then or
    the embedding is of another encoder, the decision is not computable, and is not guessed.

    Examples:

      moderator policy backtest marketplace@4 --since 30d --html backtest.html

      moderator policy backtest marketplace@4 --against marketplace@3 --json
    """
    names = [policy_reference(text) for text in (reference, against) if text is not None]
    moments = read_moment(since), read_moment(until)

    from moderator.archive.archive_store import open_archive
    from moderator.tuning.archived_images import archive_policy
    from moderator.tuning.backtest import run_backtest
    from moderator.tuning.backtest_counts import BacktestPlan
    from moderator.tuning.backtest_record import record_of
    from moderator.tuning.labelled_images import open_engine

    settings = policy_settings(policies)
    with ExitStack() as stack:
        archive = stack.enter_context(closing(open_archive(settings)))
        with loading():
            judge = stack.enter_context(open_engine(settings))
            plan = BacktestPlan(
                *(
                    archive_policy(
                        judge.compiler.compile(judge.catalogue.get(*name)),
                        judge.encoder.identity,
                        judge.signals,
                    )
                    for name in names
                )
            )
        with counting("deciding", as_json) as progress:
            result = run_backtest(
                archive,
                plan,
                _engine(engine),
                since=moments[0],
                until=moments[1],
                policy=None if all_policies else plan.policy.policy.name,
                progress=progress,
            )
        if html is not None:
            from moderator.tuning.backtest_report import backtest_report
            from moderator.tuning.backtest_samples import sample_items

            backtest_report(result, plan, sample_items(archive, judge, result), _facts(result, plan)).write(
                html
            )
    if as_json:
        print_json(record_of(result, plan))
        return
    _show(result, plan, all_policies)
    if html is not None:
        console.print(plain(f"report: {html}"), soft_wrap=True)


def _engine(name: BacktestEngineName) -> "BacktestEngine":
    if name is BacktestEngineName.RAY:
        from moderator.tuning.backtest_ray import RayBacktestEngine

        return RayBacktestEngine()
    from moderator.tuning.backtest import ThreadEngine

    return ThreadEngine()


def _show(result: "BacktestResult", plan: "BacktestPlan", all_policies: bool) -> None:
    from moderator.tuning.backtest_record import category_rows, day_rows, flip_counts, sentence

    console.print(plain(sentence(result, plan)), soft_wrap=True)
    if not result.counts.images and not all_policies:
        console.print(
            plain(f"--all also takes images that other policies than {plan.policy.policy.name} decided.")
        )
    days = day_rows(result)
    number = max(len(days), 1)
    tables: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = [
        (("decision", "before", "images"), [(b, a, f"{n:,}") for (a, b), n in flip_counts(result).items()]),
        (
            ("category", "flagged before", "after", "stricter", "milder"),
            [(name, *(f"{n:,}" for n in counts)) for name, *counts in category_rows(result)],
        ),
        (
            ("a day", "before", "after"),
            [
                (name, *(f"{sum(row[n] for row in days) / number:,.1f}" for n in columns))  # type: ignore[misc]
                for name, columns in (("review", (2, 3)), ("block", (4, 5)))
                if days
            ],
        ),
        (
            ("not computable, because", "images"),
            [(name, f"{n:,}") for name, n in result.counts.reasons.items()],
        ),
    ]
    for headings, rows in tables:
        if rows:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for position, heading in enumerate(headings):
                table.add_column(heading, justify="right" if position and heading != "before" else "left")
            for row in rows:
                table.add_row(*map(plain, row))
            console.print(table)
    left_out = [(result.errors, "could not be judged"), (result.without_evidence, "have no embedding")]
    if text := ", ".join(f"{count:,} {what}" for count, what in left_out if count):
        console.print(plain(f"Left out: of the verdicts, {text}."), soft_wrap=True)


def _facts(result: "BacktestResult", plan: "BacktestPlan") -> list[tuple[str, str]]:
    days = f"{result.days[0]} to {result.days[-1]} (UTC)" if result.days else "none"
    facts = [
        ("policy", f"{plan.policy.policy.reference}, digest {plan.policy.policy.digest}"),
        ("encoder", f"{plan.policy.identity.id}, revision {plan.policy.identity.revision}"),
        ("days", days),
        ("images", f"{result.counts.images:,} with {result.counts.rows:,} embeddings"),
        ("verdicts that could not be judged", f"{result.errors:,}"),
        ("verdicts without an embedding", f"{result.without_evidence:,}"),
    ]
    if plan.against is not None:
        facts.insert(1, ("against", f"{plan.against.policy.reference}, digest {plan.against.policy.digest}"))
    return facts
