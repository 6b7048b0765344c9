"""`moderator backfill`: judge a large collection of images, resumable at any moment."""

import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from threading import Event as Flag
from typing import Annotated

import typer

from moderator.backfill.backfill_run import BackfillOptions, BackfillSummary, run_backfill
from moderator.backfill.backfill_source import open_source
from moderator.backfill.reporting import Reporter
from moderator.cli.options import progress_bar, text_name
from moderator.cli.output import console, errors, plain, print_json
from moderator.cli.submit import EXIT_UNANSWERED
from moderator.settings import load_settings

#: Seconds between two lines of progress where no terminal shows a bar.
PROGRESS_LINE_SECONDS = 30.0


class EngineName(StrEnum):
    """Where the images are judged."""

    QUEUE = "queue"
    RAY = "ray"


def backfill(
    source: Annotated[
        str, typer.Argument(help="Folder, s3://BUCKET/PREFIX, or a .parquet or .csv file of URLs.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    policy: Annotated[
        str | None, typer.Option(help="NAME or NAME@VERSION. Default: the workers' default policy.")
    ] = None,
    column: Annotated[str, typer.Option(help="Column of a table that holds the URLs.")] = "url",
    engine: Annotated[
        EngineName, typer.Option(help="`queue`: the service's workers. `ray`: Ray, without the queue.")
    ] = EngineName.QUEUE,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Most images per second. Default: no limit.")
    ] = None,
    window: Annotated[int, typer.Option(min=1, help="Most images on the queue at a time.")] = 512,
    bulk: Annotated[int, typer.Option(min=1, max=1000, help="Most images in one event.")] = 32,
    judges: Annotated[int, typer.Option(min=1, help="With --engine ray: processes that judge.")] = 1,
    retry: Annotated[
        list[str] | None,
        typer.Option(help="Judge images in error again: `all`, or a type of error; may be repeated."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Judge any number of images, and write the verdicts into a folder of Parquet files.

    The images go to the workers as bulk events, a bounded number at a time. A file under one of MODERATOR_FETCH_ROOTS
    is sent by path, any other inline. Each image gets one row: in part-*.parquet, or in errors.parquet.

    May be interrupted at any time: Ctrl-C or SIGTERM stops cleanly, and the same command resumes, even after a kill or
    a power cut. Once everything is done, it judges only new images.

    Exit codes: 0 if every image was judged, 3 if some ended in an error, 130 or 143 if it was stopped by Ctrl-C or
    SIGTERM.

    Examples:

      moderator backfill photos/ -o results

      moderator backfill s3://uploads/2026/ -o results --policy marketplace --rate 50

      moderator backfill urls.csv -o results --retry FetchFailed
    """
    settings = load_settings()
    retried = None if retry is None else tuple(kind for kind in retry if kind != "all")
    options = BackfillOptions(policy, engine.value, window, bulk, judges, rate, retried)
    opened = open_source(source, column, settings)
    with _stopping() as stopped, _reporting(json) as reporter:
        summary = run_backfill(opened, output, settings, options, stopped.flag, reporter)
    again = _command(source, output, options, column)
    if json:
        print_json({"output": text_name(str(output)), **asdict(summary), "resume": again})
    else:
        _show(output, summary, again)
    if stopped.signal is not None:
        raise typer.Exit(128 + stopped.signal)
    if summary.failures:
        raise typer.Exit(EXIT_UNANSWERED)


class _Stopped:
    """A flag that signals set, and the first of them."""

    def __init__(self) -> None:
        self.flag = Flag()
        self.signal: int | None = None

    def stop(self, number: int, _: object) -> None:
        if self.signal is not None:  # the user does not want to wait
            raise KeyboardInterrupt
        self.signal = number
        self.flag.set()
        errors.print("stopping; what is done is kept", highlight=False)


@contextmanager
def _stopping() -> Iterator[_Stopped]:
    """Have Ctrl-C and SIGTERM set a flag during the block; a second signal ends it at once."""
    stopped = _Stopped()
    before = {number: signal.signal(number, stopped.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _reporting(json: bool) -> Iterator[Reporter]:
    """Show progress: a bar on terminals, else a line from time to time."""
    with progress_bar(json) as bar:
        listing = bar.add_task("listing", total=None)
        judging = bar.add_task("judging", total=None, visible=False)
        lines = _Lines(shown=not json and not errors.is_terminal)

        def begun(images: int, already: int) -> None:
            bar.update(listing, visible=False)
            bar.update(judging, total=images, completed=already, visible=True)
            lines.begin(images, already)

        def done(count: int) -> None:
            lines.advance(count)
            bar.update(judging, advance=count, description=f"judging, {lines.rate:.1f}/s")

        def notice(text: str) -> None:
            errors.print(plain(text), style="yellow", soft_wrap=True)

        yield Reporter(lambda count: bar.advance(listing, count), begun, done, notice)


class _Lines:
    """Counts images, and prints a line about them from time to time."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self.begin(0, 0)

    def begin(self, images: int, already: int) -> None:
        self._images, self._done, self._new = images, already, 0
        self._began = self._printed = time.monotonic()

    @property
    def rate(self) -> float:
        """Images per second since the beginning."""
        return self._new / max(time.monotonic() - self._began, 1e-9)

    def advance(self, count: int) -> None:
        self._new += count
        self._done += count
        now = time.monotonic()
        if self._shown and now - self._printed >= PROGRESS_LINE_SECONDS:
            self._printed = now
            left = (self._images - self._done) / max(self.rate, 1e-9)
            line = f"{self._done} of {self._images} images, {self.rate:.1f}/s, {duration(left)} left"
            errors.print(line, highlight=False)


def duration(seconds: float) -> str:
    """Return a time for people: `42 s`, `7 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _command(source: str, output: Path, options: BackfillOptions, column: str) -> str:
    """Return the command that resumes, without what is done once."""
    words = ["moderator", "backfill", source, "-o", str(output)]
    usual = BackfillOptions()
    for name, value, default in (
        ("--policy", options.policy, usual.policy),
        ("--column", column, "url"),
        ("--engine", options.engine, usual.engine),
        ("--rate", options.rate, usual.rate),
        ("--window", options.window, usual.window),
        ("--bulk", options.bulk_size, usual.bulk_size),
        ("--judges", options.judges, usual.judges),
    ):
        if value != default:
            words += [name, str(value)]
    return text_name(shlex.join(words))


def _show(output: Path, summary: BackfillSummary, again: str) -> None:
    judged = ", ".join(f"{decision} {count}" for decision, count in summary.decisions.items())
    _print(
        f"{output}: {summary.images} images: {judged or 'none judged'}, error {sum(summary.failures.values())}"
    )
    if summary.new:
        rate = summary.new / max(summary.seconds, 1e-9)
        _print(f"{summary.new} of them in this run, {rate:.1f} images/s")
    if summary.skipped:
        _print(f"skipped, for their names are not those of images: {summary.skipped}")
    if summary.resubmitted:
        _print(f"{summary.resubmitted} images sent again: their verdicts expired before they were read")
    for kind, count in summary.failures.items():
        _print(f"  {kind}: {count}", "yellow")
    if summary.failures:
        _print(f"to judge only these again: {again} --retry all (or --retry {next(iter(summary.failures))})")
    if summary.waiting:
        _print(f"{summary.waiting} images are left; resume with: {again}", "yellow")


def _print(line: str, style: str | None = None) -> None:
    console.print(plain(line), style=style, highlight=False, soft_wrap=True)
