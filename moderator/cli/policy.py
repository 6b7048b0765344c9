"""`moderator policy`: the commands on policies; those that list and show them are here."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from moderator.cli import (
    policy_backtest,
    policy_changes,
    policy_diff,
    policy_evaluate,
    policy_lint,
    policy_log,
    policy_new,
    policy_tune,
)
from moderator.cli.options import JsonOption, PoliciesOption, policies_folder, policy_reference
from moderator.cli.policy_sheet import print_policy
from moderator.policies.catalogue import Catalogue
from moderator.policies.schema import Policy
from moderator.policies.snapshot import Snapshot

app = typer.Typer(
    no_args_is_help=True, help="Write, check, compare, measure, release, try and roll back policies."
)


@app.command("list")
def list_(policies: PoliciesOption = None, as_json: JsonOption = False) -> None:
    """List all versions of all policies and the role of each."""
    catalogue = _catalogue(policies)
    snapshot = catalogue.snapshot
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("policy", "version", "state", "categories", "prompts", "digest"):
        table.add_column(
            heading, justify="right" if heading in ("version", "categories", "prompts") else "left"
        )
    for name, version in sorted({*snapshot.policies, *snapshot.broken}):
        facts = _facts(snapshot, name, version)
        if as_json:
            typer.echo(json.dumps(facts, ensure_ascii=False))
            continue
        policy = snapshot.policies.get((name, version))
        sizes = (str(len(policy.categories)), str(policy.prompt_count)) if policy else ("", "")
        digest = policy.digest[:12] if policy else ""
        table.add_row(name, str(version), _state(facts), *sizes, digest)
    if not as_json:
        Console().print(table)
    _warn(catalogue)


@app.command()
def show(
    reference: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="Without a version: the active one.")
    ],
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one version of a policy: its prompts, rules and thresholds, and those measured on each encoder."""
    name, version = policy_reference(reference)
    catalogue = _catalogue(policies)
    policy = catalogue.get(name, version)
    facts = _facts(catalogue.snapshot, policy.name, policy.version, policy)
    if as_json:
        typer.echo(json.dumps({**facts, **policy.model_dump(mode="json")}, ensure_ascii=False))
        return
    print_policy(Console(), policy, _state(facts))


def _catalogue(policies: Path | None) -> Catalogue:
    return Catalogue(policies_folder(policies))


def _facts(snapshot: Snapshot, name: str, version: int, policy: Policy | None = None) -> dict[str, Any]:
    policy = policy or snapshot.policies.get((name, version))
    broken = snapshot.broken.get((name, version))
    resolved = snapshot.resolved.get(name)
    canary = resolved.pointer.canary if resolved and resolved.canary else None
    return {
        "name": name,
        "version": version,
        "digest": policy.digest if policy else None,
        "released": (name, version) in snapshot.releases,
        "active": bool(resolved and resolved.active.version == version),
        "shadow": bool(resolved and any(p.version == version for p in resolved.shadows)),
        "canary_percent": canary.percent if canary and canary.version == version else None,
        "problem": str(broken) if broken else None,
    }


def _state(facts: dict[str, Any]) -> Text:
    roles = [Text("active", "green")] if facts["active"] else []
    if facts["canary_percent"] is not None:
        roles.append(Text(f"canary {facts['canary_percent']:g} %", "magenta"))
    if facts["shadow"]:
        roles.append(Text("shadow", "blue"))
    if not roles:
        roles.append(Text("released") if facts["released"] else Text("draft", "dim"))
    if facts["problem"]:
        roles.append(Text("broken", "red"))
    return Text(", ").join(roles)


def _warn(catalogue: Catalogue) -> None:
    counts = {"problem": len(catalogue.problems), "unread file": len(catalogue.snapshot.strays)}
    summary = ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for noun, n in counts.items() if n)
    if summary:
        typer.echo(f"{summary} in {catalogue.folder}: run 'moderator policy lint'", err=True)


for _command in (
    policy_new.new,
    policy_lint.lint,
    policy_diff.diff,
    policy_evaluate.evaluate,
    policy_tune.tune,
    policy_backtest.backtest,
    policy_changes.release,
    policy_changes.shadow,
    policy_changes.canary,
    policy_changes.promote,
    policy_changes.activate,
    policy_changes.rollback,
    policy_log.log,
):
    app.command()(_command)
