"""The commands of `moderator policy` that change which version decides, and the log of such changes."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from moderator.cli.options import JsonOption, PoliciesOption, policies_folder, policy_reference
from moderator.cli.output import plain
from moderator.cli.policy_findings import finding_rows, refuse_errors, unmet_rows
from moderator.errors import ModeratorError
from moderator.policies.audit import Action, Change, current_user
from moderator.policies.pointer_schema import Pointer
from moderator.policies.requirements import EncoderFacts
from moderator.policies.schema import Policy
from moderator.policies.store import Activation, PolicyStore
from moderator.settings import load_settings

VersionArgument = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="Such as marketplace@2.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the log.")]
ActorOption = Annotated[
    str | None,
    typer.Option("--actor", metavar="NAME", help="Who, for the log. Default: the user of the system."),
]
ExpectOption = Annotated[
    int | None,
    typer.Option(min=0, metavar="VERSION", help="Change nothing unless this version is active (0: none is)."),
]


def release(
    reference: VersionArgument,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Release a version: from now on it never changes, and may be activated."""
    name, version = _full_reference(reference)
    folder = policies_folder(policies)

    def check(policy: Policy) -> None:
        rows = [*finding_rows(folder, policy), *unmet_rows(folder, policy)]
        refuse_errors(f"{policy.reference} is not released", rows, as_json)

    policy = PolicyStore(folder, check, actor or current_user()).release(name, version, reason=reason)
    if as_json:
        typer.echo(json.dumps({"name": name, "version": version, "digest": policy.digest, "released": True}))
    else:
        typer.echo(f"{policy.reference} is released with the digest {policy.digest}")
        typer.echo(f"To put it to work: moderator policy activate {policy.reference}")


def activate(
    reference: VersionArgument,
    expect: ExpectOption = None,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a released version the one that decides. Running workers pick it up without a restart."""
    name, version = _full_reference(reference)
    store = _store(policies, actor, as_json)
    _print_activation(name, store.activate(name, version, expect=expect, reason=reason), as_json)


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as marketplace.")],
    expect: ExpectOption = None,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the previously active version decide again. Repeat to go back further."""
    name = _name_only(name)
    store = _store(policies, actor, as_json)
    _print_activation(name, store.rollback(name, expect=expect, reason=reason), as_json)


def log(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Without it: of all policies.")] = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """List releases and activations with author, time and reason, newest last, and which are in force."""
    wanted = _name_only(name) if name is not None else None
    changes = _store(policies, None, as_json).log(wanted)
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
        version = "" if record.version is None else f"@{record.version}"
        cells = (
            f"{record.when.astimezone():%Y-%m-%d %H:%M}" if record.when else "",
            record.who or "unknown",
            f"{record.action} {record.policy}{version}",
            "" if record.action is Action.RELEASE else _pointer_text(record.before),
            "" if record.action is Action.RELEASE else _pointer_text(record.after),
            str(change.state),
            record.why,
        )
        table.add_row(*map(plain, cells))
    Console().print(table)


def _store(policies: Any, actor: str | None, as_json: bool) -> PolicyStore:
    """Return the store, which checks a version before activation as far as this machine can."""
    folder = policies_folder(policies)

    def check(policy: Policy) -> None:
        rows = unmet_rows(folder, policy, encoder=_encoder_facts)
        refuse_errors(f"{policy.reference} is not activated", rows, as_json)

    return PolicyStore(folder, check, actor or current_user())


def _print_activation(name: str, change: Activation, as_json: bool) -> None:
    before, pointer = change.before, change.now
    if as_json:
        was = before.active if before else None
        typer.echo(json.dumps({"name": name, **pointer.model_dump(mode="json"), "previous": was}))
        return
    was_text = (
        "" if before is None else " already" if before == pointer else f" (before: version {before.active})"
    )
    typer.echo(f"{name}: version {pointer.active} is active{was_text}")
    if pointer.shadow:
        typer.echo(f"shadow: {', '.join(map(str, pointer.shadow))}")
    if pointer.canary:
        typer.echo(f"canary: version {pointer.canary.version} decides for {pointer.canary.percent:g} %")


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


def _full_reference(text: str) -> tuple[str, int]:
    name, version = policy_reference(text)
    if version is None:
        raise typer.BadParameter(f"name the version as well, such as {name}@1")
    return name, version


def _name_only(text: str) -> str:
    name, version = policy_reference(text)
    if version is not None:
        raise typer.BadParameter(f"name the policy alone: {name}")
    return name


def _encoder_facts() -> EncoderFacts | None:
    """Return the facts of the settings' encoder; report and return None if it cannot be loaded on this machine."""
    from moderator.encoders.encoder_registry import encoder_of  # the model libraries take seconds to load

    try:
        encoder = encoder_of(load_settings())
    except ModeratorError as error:
        typer.echo(f"not compared with the encoder, which cannot be loaded here: {error}", err=True)
        return None
    return encoder.identity, encoder.dimension
