"""`moderator policy`: show, check, release, activate and roll back policies."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from moderator.cli import policy_changes, policy_evaluate
from moderator.cli.options import JsonOption, PoliciesOption, policies_folder, policy_reference
from moderator.cli.policy_findings import finding_rows, print_rows, problem_row, problem_rows, unmet_rows
from moderator.cli.policy_sheet import print_policy
from moderator.errors import PolicyInvalid
from moderator.policies.catalogue import Catalogue
from moderator.policies.lint_finding import Severity
from moderator.policies.schema import Policy
from moderator.policies.snapshot import Snapshot

app = typer.Typer(no_args_is_help=True, help="Show, check, release, activate and roll back policies.")


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


@app.command("lint")
def lint_(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME[@VERSION]]...", help="Without any: all policies.")
    ] = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that all files load, and find probable mistakes in valid ones. Ends with 1 on an error."""
    wanted = [policy_reference(name) for name in names or ()]
    folder = policies_folder(policies)
    try:
        catalogue = Catalogue(folder)
        snapshot, problems = catalogue.snapshot, catalogue.problems
        there = {*snapshot.policies, *snapshot.broken}
        for name, version in wanted:
            if (name, version) not in there and (version is not None or name not in {n for n, _ in there}):
                catalogue.get(name, version)  # raises an error that lists what exists
    except PolicyInvalid as error:
        snapshot, problems = Snapshot(), (error,)
    rows = [row for problem in problems for row in problem_rows(problem)]
    rows += [problem_row(stray, Severity.WARNING) for stray in snapshot.strays]
    checked = [p for k, p in sorted(snapshot.policies.items()) if k not in snapshot.broken]
    for policy in checked:
        rows += finding_rows(folder, policy)
        # A released version that no pointer names may exist before its signal files are fetched.
        idle = (policy.name, policy.version) in snapshot.releases and not _in_use(snapshot, policy)
        rows += unmet_rows(folder, policy, Severity.WARNING if idle else Severity.ERROR)
    if wanted:
        rows = [row for row in rows if row.concerns(wanted)]
        checked = [p for p in checked if any(p.name == n and v in (None, p.version) for n, v in wanted)]
    print_rows(rows, as_json)
    counts = {s: sum(row.severity is s for row in rows) for s in Severity}
    if not as_json:
        summary = ", ".join(f"{n} {s}{'' if n == 1 else 's'}" for s, n in counts.items())
        Console().print(f"{len(checked)} valid version{'' if len(checked) == 1 else 's'}: {summary}")
    if counts[Severity.ERROR]:
        raise typer.Exit(1)


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


def _in_use(snapshot: Snapshot, policy: Policy) -> bool:
    resolved = snapshot.resolved.get(policy.name)
    return resolved is not None and policy in (resolved.active, resolved.canary, *resolved.shadows)


def _warn(catalogue: Catalogue) -> None:
    counts = {"problem": len(catalogue.problems), "unread file": len(catalogue.snapshot.strays)}
    summary = ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for noun, n in counts.items() if n)
    if summary:
        typer.echo(f"{summary} in {catalogue.folder}: run 'moderator policy lint'", err=True)


app.command()(policy_evaluate.evaluate)
for _change in (policy_changes.release, policy_changes.activate, policy_changes.rollback, policy_changes.log):
    app.command()(_change)
