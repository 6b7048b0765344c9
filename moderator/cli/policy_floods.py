"""`moderator policy floods`: the flood breakers of categories, and how to close one."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moderator.cli.options import JsonOption
from moderator.cli.policy_changes import ActorOption

if TYPE_CHECKING:
    from moderator.queue.floods import FloodKey, Floods
    from moderator.scoring.flood import FloodRecord, FloodRule

#: Changes that `--log` shows.
LOG_ENTRIES_SHOWN = 50
LOG_FIELDS = ("at", "policy", "category", "change", "by", "reason")

app = typer.Typer(
    help="List the flood breakers of categories, and close one.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def floods(
    context: typer.Context,
    log: Annotated[
        bool, typer.Option("--log", help="Show the latest changes instead, newest first: when, who and why.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List what categories block, and which flood breakers are open: blocks of those go to review.

    `learning`: the history is too short to say what is usual, and the breaker stays closed.

    Example:

      moderator policy floods
    """
    if context.invoked_subcommand is not None:
        return
    from moderator.cli.output import console, errors, plain, print_json

    store, rule = _open()
    if log:
        for entry in store.log(LOG_ENTRIES_SHOWN):
            if as_json:
                print_json(entry)
            else:
                at, policy, category, change, by, reason = (str(entry.get(name, "")) for name in LOG_FIELDS)
                line = f"{at}  {policy} {category}: {change} by {by or 'the breaker'}: {reason}"
                console.print(plain(line), highlight=False, soft_wrap=True)
        return
    reading = store.read(store.known())
    rows = [_facts(key, flood.record, rule, reading.now) for key, flood in reading.floods.items()]
    rows.sort(key=lambda row: row["state"] != "open")
    if as_json:
        for row in rows:
            print_json(row)
        return
    if not rows:
        errors.print("no worker has counted a verdict yet", highlight=False)
    _print_table(rows)


@app.command()
def close(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Policy, such as marketplace.")],
    category: Annotated[str, typer.Argument(metavar="CATEGORY", help="Such as weapons.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the log.")],
    accept: Annotated[
        bool,
        typer.Option(
            "--accept",
            help="What the category has blocked since is right: take it as usual from now on. Without this, the "
            "breaker opens again if the category goes on like this.",
        ),
    ] = False,
    actor: ActorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close the flood breaker of a category: its blocks are blocks again, on all workers within seconds.

    Verdicts that were diverted to review stay in review.

    Example:

      moderator policy floods close marketplace weapons --reason "rolled back to version 3"
    """
    from moderator.cli.output import console, print_json
    from moderator.policies.audit import current_user
    from moderator.queue.floods import FloodKey

    store, rule = _open()
    key = FloodKey(name, category)
    record = store.close(key, rule, reason, actor or current_user(), accept=accept)
    if as_json:
        print_json(
            {**key._asdict(), "closed": True, "accepted": accept, "opened_at": _moment(record.opened_at)}
        )
        return
    console.print(f"{name}: blocks of {category} are blocks again", highlight=False, markup=False)
    if accept:
        note = "The history starts again from what was decided since it opened; the breaker learns before it may open."
    else:
        note = "If the category goes on blocking like this, it opens again. If that is right, close it with --accept."
    console.print(note, highlight=False, markup=False, soft_wrap=True)


def _open() -> "tuple[Floods, FloodRule]":
    from moderator.client import Client
    from moderator.queue.executors import RedisExecutor
    from moderator.queue.floods import Floods, flood_rule
    from moderator.settings import load_settings

    settings = load_settings()
    return Floods(RedisExecutor(Client().redis), settings.flood_window), flood_rule(settings)


def _facts(key: "FloodKey", record: "FloodRecord", rule: "FloodRule", now: float) -> dict[str, Any]:
    return {
        **key._asdict(),
        "state": record.state(rule, now).value,
        "window": {"images": round(record.window.images), "blocks": round(record.window.blocks)},
        "history": {"images": round(record.history.images), "blocks": round(record.history.blocks, 1)},
        "history_needed": {"images": rule.history_min, "seconds": rule.learning_seconds},
        "history_began": _moment(record.began),
        "opened_at": _moment(record.opened_at),
        "calm_since": _moment(record.calm_since),
        "reason": record.reason or None,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from moderator.cli.output import console, plain

    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("policy", "category", "state", "lately", "usually", "since", "why"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("state", "since"))
    for row in rows:
        window, history = row["window"], row["history"]
        needed = row["history_needed"]["images"]
        state = row["state"]
        if state == "learning":
            state = f"learning ({min(history['images'], needed)} of {needed})"
        table.add_row(
            *map(plain, (row["policy"], row["category"], state)),
            *(_share(counts) for counts in (window, history)),
            plain(row["opened_at"] or ""),
            plain(row["reason"] or ""),
        )
    console.print(table)


def _share(counts: dict[str, float]) -> str:
    images, blocks = counts["images"], counts["blocks"]
    return f"{blocks / images:.1%} of {images:.0f}" if images else ""


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="seconds")
