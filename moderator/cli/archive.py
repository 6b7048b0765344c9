"""`moderator archive`: look at, export, retain and erase what the archive holds."""

import json as json_module
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from moderator.atomic import replacing
from moderator.cli.archive_removal import erase, hold_app, retain
from moderator.cli.options import JsonOption, read_moment
from moderator.cli.output import console, errors, plain, print_json
from moderator.errors import StatementInvalid
from moderator.settings import load_settings

if TYPE_CHECKING:
    from moderator.archive.archive_store import ArchivedVerdict

#: Most different reasons shown for verdicts without a statement.
REASONS_SHOWN_MAX = 10

app = typer.Typer(
    help="See, export, retain and erase what the archive holds.", no_args_is_help=True, rich_markup_mode=None
)
app.command()(erase)
app.command()(retain)
app.add_typer(hold_app, name="hold")


class ExportFormat(StrEnum):
    """What `export` writes."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    DSA = "dsa"


@app.command()
def status(json: JsonOption = False) -> None:
    """Show what the archive holds.

    Example:

      moderator archive status
    """
    from moderator.archive.archive_state import read_state
    from moderator.archive.archive_store import open_archive

    state = read_state(open_archive(load_settings()))
    if json:
        record = {
            **vars(state),
            "oldest": state.oldest and state.oldest.isoformat(),
            "newest": state.newest and state.newest.isoformat(),
        }
        print_json(record)
        return
    decisions = ", ".join(f"{count} {name}" for name, count in sorted(state.decisions.items()))
    period = (
        ""
        if state.oldest is None or state.newest is None
        else f", {state.oldest:%Y-%m-%d %H:%M} to {state.newest:%Y-%m-%d %H:%M} UTC"
    )
    lines = [
        f"verdicts    {state.verdicts}{f' ({decisions})' if decisions else ''}{period}",
        f"embeddings  {state.segment_frames} in {state.segments} segments, {state.waiting_frames} in the database",
        f"holds       {state.holds}",
        f"tombstones  {state.tombstones}",
        f"schema      {state.schema}",
        *(f"missing     {path}" for path in state.missing_segments),
    ]
    for line in lines:
        console.print(plain(line), highlight=False, soft_wrap=True)


@app.command()
def seal() -> None:
    """Move all embeddings to Parquet segments now.

    A running archive does this by itself once they fill a segment, or after a day.

    Example:

      moderator archive seal
    """
    from moderator.archive.archive_store import open_archive
    from moderator.archive.segments import seal

    console.print(f"wrote {seal(open_archive(load_settings()), everything=True)} segments", highlight=False)


@app.command()
def export(
    format: Annotated[ExportFormat, typer.Option(help="What to write.")] = ExportFormat.JSONL,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: standard output.")] = None,
    since: Annotated[str | None, typer.Option(help="Decided since: 2026-01-31, or 30d, 12h.")] = None,
    until: Annotated[str | None, typer.Option(help="Decided before: the same.")] = None,
    decision: Annotated[str | None, typer.Option(help="allow, review, block or error.")] = None,
    policy: Annotated[str | None, typer.Option(help="Name of the policy that decided.")] = None,
    category: Annotated[str | None, typer.Option(help="Category that reached review or block.")] = None,
    source: Annotated[str | None, typer.Option(help="As submitted.")] = None,
    subject: Annotated[str | None, typer.Option(help="metadata.subject of the events.")] = None,
) -> None:
    """Write verdicts, newest first.

    jsonl: verdicts as they were published. csv, parquet: a table; `verdict_id` joins with the segments of embeddings.
    dsa: statements of reasons for the EU's DSA Transparency Database, one per blocked image, from the `dsa:` block of
    the category that decided. Nothing is submitted. Verdicts without a complete statement are reported with policy,
    category and key; the command then ends with 1.

    Examples:

      moderator archive export --decision block --since 30d -o blocked.jsonl

      moderator archive export --format dsa --since 2026-01-01 --until 2026-02-01 -o january.jsonl
    """
    from moderator.archive.archive_export import write_csv, write_jsonl, write_parquet
    from moderator.archive.archive_store import open_archive
    from moderator.archive.verdict_filter import VerdictFilter

    if format is ExportFormat.PARQUET and output is None:
        raise typer.BadParameter("a Parquet file needs --output")
    filters = VerdictFilter(
        decision="block" if format is ExportFormat.DSA else decision,
        policy=policy,
        category=category,
        source=source,
        subject=subject,
        since=read_moment(since),
        until=read_moment(until),
    )
    archive = open_archive(load_settings())
    if format is ExportFormat.PARQUET:
        assert output is not None
        written = write_parquet(archive.scan(filters), output)
    elif format is ExportFormat.DSA:
        with _opened(output) as out:
            written, refused = _write_statements(archive.scan(filters), out)
        if refused:
            raise typer.Exit(1)
    else:
        write = write_csv if format is ExportFormat.CSV else write_jsonl
        with _opened(output) as out:
            written = write(archive.scan(filters), out)
    errors.print(f"wrote {written}", highlight=False)


def _write_statements(found: "Iterator[ArchivedVerdict]", out: IO[str]) -> tuple[int, int]:
    from moderator.archive.statements import StatementWriter

    writer = StatementWriter(load_settings().policies)
    written, reasons = 0, dict[str, int]()
    for archived in found:
        try:
            statement = writer.write(archived.verdict)
        except StatementInvalid as error:
            reasons[str(error)] = reasons.get(str(error), 0) + 1
            continue
        out.write(json_module.dumps(statement, ensure_ascii=False) + "\n")
        written += 1
    for reason, count in list(reasons.items())[:REASONS_SHOWN_MAX]:
        errors.print(plain(f"{count} without a statement: {reason}"), style="yellow", soft_wrap=True)
    return written, sum(reasons.values())


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    with replacing(path) as new, new.open("w", encoding="utf-8", newline="") as out:
        yield out
