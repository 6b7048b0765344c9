"""What `moderator archive` deletes, and what keeps it from doing so: `erase`, `retain` and `hold`."""

from typing import TYPE_CHECKING, Annotated

import typer

from moderator.cli.options import JsonOption
from moderator.cli.output import console, errors, plain, print_json
from moderator.errors import SettingsError
from moderator.settings import Settings, load_settings

if TYPE_CHECKING:
    from moderator.archive.erasure import Erasure

hold_app = typer.Typer(
    help="Keep verdicts from being deleted: place, list and release legal holds.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def erase(
    subject: Annotated[str, typer.Argument(help="As events have it in metadata.subject.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, and change nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Erase all about a subject, and prove that nothing is left.

    Removes verdicts, evidence and embeddings from database and segments; from Redis, verdicts in the stream and by
    event, deliveries that wait, dead letters, and cached embeddings. Then searches all of these for the subject, its
    events and its images, and prints a record. Only keyed hashes stay, by which late deliveries of the same verdicts
    are recognised and not archived.

    Ends with 1 if anything is left, or if events of the subject have no verdict yet: erase again once they do. A legal
    hold forbids an erasure: release it first. A spool on another machine is not reached; see docs/archive.md.

    Examples:

      moderator archive erase user-4711 --dry-run

      moderator archive erase user-4711 --yes --json >> erasures.jsonl
    """
    settings = load_settings()
    erasure = _erasure(settings)
    if dry_run or not yes:
        found = erasure.preview(subject)
        for store, count in found.items():
            console.print(plain(f"{count:>8}  {store}"), highlight=False)
        if dry_run:
            return
        typer.confirm("Erase this for good?", abort=True)
    proof = erasure.erase(subject)
    if json:
        print_json(proof.to_json())
    else:
        for store, count in proof.removed.items():
            left = f", {proof.left[store]} left" if proof.left.get(store) else ""
            console.print(plain(f"{count:>8}  {store}{left}"), highlight=False)
        for store, count in proof.in_progress.items():
            if count:
                message = f"{count} events without a verdict ({store}): erase again once they have one"
                errors.print(message, style="yellow", soft_wrap=True)
        console.print(f"{'proved: nothing is left' if proof.proved else 'NOT complete'}", highlight=False)
    if not proof.proved:
        raise typer.Exit(1)


def retain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, and change nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Delete verdicts that have been kept for as long as MODERATOR_ARCHIVE_KEEP says.

    Whole days (UTC) go together. What a legal hold names stays. A running archive does this by itself.

    Example:

      MODERATOR_ARCHIVE_KEEP=allow=30,block=365 moderator archive retain --dry-run
    """
    from moderator.archive.archive_store import open_archive
    from moderator.archive.retention import count_expired
    from moderator.archive.retention import retain as delete_expired

    settings = load_settings()
    if not settings.archive_days:
        raise SettingsError("MODERATOR_ARCHIVE_KEEP is not set: everything is kept for good")
    archive = open_archive(settings)
    gone = (count_expired if dry_run else delete_expired)(archive, settings.archive_days)
    if json:
        print_json({"deleted": dict(gone), "dry_run": dry_run})
        return
    for decision, count in sorted(gone.items()):
        console.print(f"{count:>8}  {decision}", highlight=False)
    console.print(f"{'would delete' if dry_run else 'deleted'} {gone.total()}", highlight=False)


@hold_app.command()
def place(
    reason: Annotated[str, typer.Option(help="Why, for whoever is to release it.")],
    subject: Annotated[str | None, typer.Option(help="All about this subject, later verdicts too.")] = None,
    source: Annotated[str | None, typer.Option(help="With --event: its source.")] = None,
    event: Annotated[str | None, typer.Option(help="One event, by its id.")] = None,
) -> None:
    """Place a hold on a subject or an event: neither retention nor erasure deletes it.

    Examples:

      moderator archive hold place --subject user-4711 --reason 'case 12/2026'

      moderator archive hold place --source shop --event 6f1c0e9a --reason 'case 12/2026'
    """
    from moderator.archive.archive_store import open_archive
    from moderator.archive.holds import place_hold

    archive = open_archive(load_settings())
    number = place_hold(archive, reason, subject=subject, source=source, event_id=event)
    console.print(f"hold {number}", highlight=False)


@hold_app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the holds, oldest first.

    Example:

      moderator archive hold list
    """
    from moderator.archive.archive_store import open_archive
    from moderator.archive.holds import list_holds

    for hold in list_holds(open_archive(load_settings())):
        if json:
            print_json({**vars(hold), "placed_at": hold.placed_at.isoformat()})
            continue
        what = hold.subject if hold.subject is not None else f"{hold.source}:{hold.event_id}"
        line = f"{hold.id:>6}  {hold.placed_at:%Y-%m-%d}  {what}  {hold.reason}"
        console.print(plain(line), highlight=False, soft_wrap=True)


@hold_app.command()
def release(number: Annotated[int, typer.Argument(help="As `list` prints it.")]) -> None:
    """Release a hold.

    Example:

      moderator archive hold release 3
    """
    from moderator.archive.archive_store import open_archive
    from moderator.archive.holds import release_hold

    release_hold(open_archive(load_settings()), number)
    console.print(f"released hold {number}", highlight=False)


def _erasure(settings: Settings) -> "Erasure":
    from moderator.archive.archive_store import open_archive
    from moderator.archive.erasure import Erasure
    from moderator.queue.connection import SentinelLogin, connect
    from moderator.queue.spool_file import Spool

    spool = (
        None if settings.spool is None else Spool(settings.spool, settings.spool_events, settings.spool_bytes)
    )
    client = connect(settings.redis_url, sentinels=SentinelLogin.of(settings))
    return Erasure(open_archive(settings), client, spool)
