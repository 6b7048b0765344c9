"""`moderator policy rollout`: what the shadow and canary versions of a policy would change."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderator.cli.options import (
    JsonOption,
    PoliciesOption,
    loading,
    policies_folder,
    progress_bar,
    read_moment,
)
from moderator.errors import PolicyNotFound

if TYPE_CHECKING:
    from moderator.policies.snapshot import ResolvedPolicy
    from moderator.settings import Settings
    from moderator.tuning.rollout_figures import CanaryFigures, Rollout, ShadowFigures
    from moderator.tuning.rollout_verdicts import VerdictOrigin

#: Changes and differences that the terminal shows of each version; `--json` and the report have all.
CHANGES_SHOWN_MAX = 12
REASONS_SHOWN_MAX = 5


def rollout(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as marketplace.")],
    since: Annotated[
        str, typer.Option(help="Count verdicts from this time on: a date, or 7d, or 12h.")
    ] = "7d",
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a report with pictures of the disagreements."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Where to look for the images of the report, under any names. Objects in buckets need no folder.",
        ),
    ] = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report what the shadow and canary versions of a policy would change if they were promoted.

    Counts published verdicts: of the archive or, without one, of the stream. A shadow is compared on the same images, a
    canary in the same hours. A shadow that fails is an error with its reason, never an agreement.

    Examples:

      moderator policy rollout marketplace

      moderator policy rollout marketplace --since 24h --html rollout.html --images uploads/
    """
    from moderator.cli.output import print_json
    from moderator.policies.catalogue import Catalogue
    from moderator.settings import load_settings
    from moderator.tuning.rollout import RolloutCounts
    from moderator.tuning.rollout_figures import rollout_of
    from moderator.tuning.rollout_record import rollout_record

    settings = load_settings()
    catalogue = Catalogue(policies_folder(policies))
    catalogue.get(name)  # raises an error that lists what exists
    resolved = catalogue.snapshot.resolved[name]
    pointer = resolved.pointer
    counts = RolloutCounts(
        name,
        resolved.active.version,
        tuple(version for version in pointer.shadow if version != resolved.active.version),
        None if pointer.canary is None else pointer.canary.version,
    )
    if not counts.shadows and counts.canary is None:
        raise PolicyNotFound(
            f"'{name}' has no shadow and no canary: run 'moderator policy shadow {name}@VERSION', or 'canary' with the "
            "same name"
        )
    start = read_moment(since) or datetime.now(UTC) - timedelta(days=7)
    origin = _verdicts(settings, name, start)
    with progress_bar(as_json) as bar:
        for verdict in bar.track(origin.verdicts, total=None, description="counting"):
            counts.add(verdict)
    result = rollout_of(
        counts, pointer.canary.percent if pointer.canary else 0.0, origin.name, _notes(resolved)
    )
    if html is not None:
        _write(result, html, images, settings)
    if as_json:
        print_json(rollout_record(result))
    else:
        _print(result, html)


def _verdicts(settings: "Settings", name: str, since: datetime) -> "VerdictOrigin":
    from moderator.tuning.rollout_verdicts import archived_verdicts, streamed_verdicts

    if settings.archive_url is not None:
        return archived_verdicts(settings, name, since)
    from moderator.client import Client
    from moderator.queue.executors import RedisExecutor

    return streamed_verdicts(RedisExecutor(Client().redis), since)


def _notes(resolved: "ResolvedPolicy") -> list[str]:
    canary = resolved.pointer.canary
    if canary is None or canary.version not in resolved.pointer.shadow:
        return []
    return [f"Version {canary.version} is shadow and canary at once; both comparisons follow."]


def _write(result: "Rollout", html: Path, folder: Path | None, settings: "Settings") -> None:
    from moderator.tuning.labelled_images import open_engine
    from moderator.tuning.rollout_report import rollout_report
    from moderator.tuning.sample_pictures import sample_pictures

    samples = [one for shadow in result.shadows for group in shadow.counts.samples.values() for one in group]
    pictures = {}
    if samples and (folder is not None or any(one.image_key is not None for one in samples)):
        with loading(), open_engine(settings) as engine:
            pictures = dict(sample_pictures(engine, samples, folder))
    rollout_report(result, pictures).write(html)


def _print(result: "Rollout", html: Path | None) -> None:
    from moderator.cli.output import console, plain

    period = "" if result.first is None else f", since {result.first[:16]} UTC"
    console.print(
        plain(f"{result.policy}: {result.verdicts:,} verdicts {result.origin}{period}"),
        soft_wrap=True,
        highlight=False,
    )
    for note in result.notes:
        console.print(plain(note), soft_wrap=True)
    for shadow in result.shadows:
        _print_shadow(shadow)
    if result.canary is not None:
        _print_canary(result.canary)
    if html is not None:
        console.print(plain(f"report: {html}"), soft_wrap=True)
    for one in (*result.shadows, result.canary):
        if one is not None:
            console.print()
            console.print(plain(one.sentence), soft_wrap=True)
            if one.command is not None:
                console.print(plain(f"Next: {one.command}"), soft_wrap=True)


def _print_shadow(shadow: "ShadowFigures") -> None:
    from rich.table import Table

    from moderator.cli.output import console, plain
    from moderator.tuning.rollout_figures import interval_text

    counts = shadow.counts
    console.print()
    console.print(
        plain(f"shadow {counts.version}: judged {counts.judged:,} images, failed on {counts.failed:,}"),
        highlight=False,
    )
    for (type, message), count in counts.failures.most_common(REASONS_SHOWN_MAX):
        console.print(plain(f"  {count:,} x {type}: {message}"), style="yellow", soft_wrap=True)
    if not shadow.changes:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("of", "change", "direction", "images", "share (95 %)"):
        table.add_column(heading, justify="right" if heading in ("images", "share (95 %)") else "left")
    for one in shadow.changes[:CHANGES_SHOWN_MAX]:
        of = "decision" if one.category is None else one.category
        direction = "stricter" if one.stricter else "milder"
        cells = (of, f"{one.before} to {one.after}", direction, f"{one.images:,}", interval_text(one.rate))
        table.add_row(*map(plain, cells))
    console.print(table)


def _print_canary(figures: "CanaryFigures") -> None:
    from rich.table import Table

    from moderator.cli.output import console, plain
    from moderator.tuning.rollout_figures import describe, interval_text

    canary, active = figures.counts.canary, figures.counts.active
    console.print()
    console.print(
        plain(
            f"canary {canary.version} ({figures.percent:g} %): {canary.images:,} images, version {active.version} "
            f"{active.images:,} in the hours of both ({figures.counts.hours:,})"
        ),
        highlight=False,
    )
    for (type, message), count in canary.failures.most_common(REASONS_SHOWN_MAX):
        console.print(plain(f"  {count:,} x {type}: {message}"), style="yellow", soft_wrap=True)
    if not canary.images or not active.images:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("rate of", "canary", "active", "points (95 %)", "chance"):
        table.add_column(heading, justify="left" if heading == "rate of" else "right")
    for one in figures.differences[:CHANGES_SHOWN_MAX]:
        shares = (f"{hits / total:.2%}" for hits, total in (one.canary, one.active))
        table.add_row(
            *map(plain, (describe(one), *shares, interval_text(one.difference), f"{one.chance:.2g}"))
        )
    console.print(table)
