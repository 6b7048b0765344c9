"""`moderator policy log`: who changed which policy, when and why."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from moderator.cli.next_steps import print_steps, step
from moderator.cli.options import JsonOption, PoliciesOption, policies_folder
from moderator.cli.output import plain
from moderator.cli.policy_names import name_only
from moderator.policies.audit import Action, Change, Record
from moderator.policies.pointer_schema import Pointer
from moderator.policies.store import PolicyStore


def log(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Without it: of all policies.")] = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """List releases and changes of roles with author, time and reason, newest last, and which are in force."""
    wanted = name_only(name) if name is not None else None
    changes = PolicyStore(policies_folder(policies), check=lambda policy: None).log(wanted)
    if as_json:
        for change in changes:
            typer.echo(json.dumps(_facts(change), ensure_ascii=False))
        return
    if not changes:
        typer.echo("no change is recorded", err=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("when", "who", "what", "from", "to", "state"):
        table.add_column(heading, no_wrap=heading in ("when", "state"), overflow="fold")
    table.add_column("why", overflow="fold", ratio=1)
    for change in changes:
        record = change.record
        cells = (
            f"{record.when.astimezone():%Y-%m-%d %H:%M}" if record.when else "",
            record.who or "unknown",
            _what(record),
            "" if record.action is Action.RELEASE else _pointer_text(record.before),
            "" if record.action is Action.RELEASE else _pointer_text(record.after),
            str(change.state),
            record.why,
        )
        table.add_row(*map(plain, cells))
    Console().print(table)
    if wanted is not None:
        print_steps([step("what the active version says", "show", wanted, policies=policies)])


def _what(record: Record) -> str:
    """Return what a change did: the action, whether it ended a role, and the version."""
    version = "" if record.version is None else f"@{record.version}"
    after = record.after or Pointer(active=1)
    ended = (record.action is Action.SHADOW and record.version not in after.shadow) or (
        record.action is Action.CANARY and after.canary is None
    )
    return f"{record.action}{' off' if ended else ''} {record.policy}{version}"


def _facts(change: Change) -> dict[str, Any]:
    return {**change.record.model_dump(mode="json", by_alias=True), "state": change.state}


def _pointer_text(pointer: Pointer | None) -> str:
    if pointer is None:
        return "none"
    parts = [str(pointer.active)]
    if pointer.shadow:
        parts.append(f"shadow {', '.join(map(str, pointer.shadow))}")
    if pointer.canary:
        parts.append(f"canary {pointer.canary.version}: {pointer.canary.percent:g} %")
    return "; ".join(parts)
