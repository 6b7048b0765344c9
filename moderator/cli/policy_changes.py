"""The commands of `moderator policy` that change which versions decide and which look on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from moderator.cli.next_steps import NextStep, print_steps, step
from moderator.cli.options import JsonOption, PoliciesOption, policies_folder
from moderator.cli.policy_findings import finding_rows, refuse_errors, unmet_rows
from moderator.cli.policy_names import VersionArgument, full_reference, name_only
from moderator.cli.policy_workers import WaitOption, print_workers, wait_for_workers
from moderator.errors import ModeratorError
from moderator.policies.audit import current_user
from moderator.policies.pointers import read_pointers
from moderator.policies.requirements import EncoderFacts
from moderator.policies.schema import Policy
from moderator.policies.store import Activation, PolicyStore
from moderator.settings import load_settings

ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the log.")]
ActorOption = Annotated[
    str | None,
    typer.Option("--actor", metavar="NAME", help="Who, for the log. Default: the user of the system."),
]
ExpectOption = Annotated[
    int | None,
    typer.Option(min=0, metavar="VERSION", help="Change nothing unless this version is active (0: none is)."),
]
OffOption = Annotated[bool, typer.Option("--off", help="End it.")]


def release(
    reference: VersionArgument,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Release a version: from now on it never changes, and may be activated."""
    name, version = full_reference(reference)
    folder = policies_folder(policies)

    def check(policy: Policy) -> None:
        rows = [*finding_rows(folder, policy), *unmet_rows(folder, policy)]
        refuse_errors(f"{policy.reference} is not released", rows, as_json)

    policy = PolicyStore(folder, check, actor or current_user()).release(name, version, reason=reason)
    steps = [step("let it decide", "activate", policy.reference, policies=policies)]
    if name in read_pointers(folder):
        looks_on = step(
            "score it beside the active version first", "shadow", policy.reference, policies=policies
        )
        steps.insert(0, looks_on)
    if as_json:
        facts = {"name": name, "version": version, "digest": policy.digest, "released": True}
        typer.echo(json.dumps({**facts, "next": [one.command for one in steps]}))
        return
    typer.echo(f"{policy.reference} is released with the digest {policy.digest}")
    print_steps(steps)


def activate(
    reference: VersionArgument,
    expect: ExpectOption = None,
    wait: WaitOption = None,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a released version the one that decides. Running workers pick it up without a restart."""
    name, version = full_reference(reference)
    change = _store(policies, actor, as_json).activate(name, version, expect=expect, reason=reason)
    _finish_activation(name, change, policies, wait, as_json)


def promote(
    reference: VersionArgument,
    expect: ExpectOption = None,
    wait: WaitOption = None,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a shadow or the canary the version that decides. Refused for a version that was not tried."""
    name, version = full_reference(reference)
    change = _store(policies, actor, as_json).promote(name, version, expect=expect, reason=reason)
    _finish_activation(name, change, policies, wait, as_json)


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as marketplace.")],
    expect: ExpectOption = None,
    wait: WaitOption = None,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the previously active version decide again. Repeat to go back further."""
    name = name_only(name)
    change = _store(policies, actor, as_json).rollback(name, expect=expect, reason=reason)
    steps = [step("all changes, with who and why", "log", name, policies=policies)]
    if change.before is not None and change.before != change.now:
        failed = f"{name}@{change.before.active}"
        steps.append(
            step(f"correct {failed} as the next version", "new", name, "--from", failed, policies=policies)
        )
    _finish(name, _active_text(name, change), change, steps, wait, as_json)


def shadow(
    reference: VersionArgument,
    off: OffOption = False,
    expect: ExpectOption = None,
    wait: WaitOption = None,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a released version beside the active one. Its verdicts are recorded and decide nothing."""
    name, version = full_reference(reference)
    store = _store(policies, actor, as_json)
    change = store.shadow(name, version, on=not off, expect=expect, reason=reason)
    if off:
        was = change.before is not None and version in change.before.shadow
        text = f"{name}: version {version} is {'no longer' if was else 'not'} a shadow"
        steps = [step("all changes, with who and why", "log", name, policies=policies)]
    else:
        text = f"{name}: version {version} is a shadow: it is scored beside version {change.now.active}, which decides"
        part = ("canary", reference, "--percent", "5")
        steps = [
            step("what it would decide otherwise, once events have come", "rollout", name, policies=policies),
            step("let it decide for a part of the events", *part, policies=policies),
            step("let it decide for all", "promote", reference, policies=policies),
            step("end it", "shadow", reference, "--off", policies=policies),
        ]
    _finish(name, text, change, steps, wait, as_json)


def canary(
    reference: VersionArgument,
    percent: Annotated[
        float | None, typer.Option(min=0, max=100, help="Share of the events for which it decides.")
    ] = None,
    off: OffOption = False,
    expect: ExpectOption = None,
    wait: WaitOption = None,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a released version decide for a share of the events. Which events these are does not change."""
    name, version = full_reference(reference)
    if off == (percent is not None):
        raise typer.BadParameter("say --percent, or --off to end it")
    change = _store(policies, actor, as_json).canary(name, version, percent, expect=expect, reason=reason)
    if percent is None:
        was = change.before is not None and change.before.canary is not None
        text = f"{name}: version {version} is {'no longer' if was else 'not'} the canary"
        steps = [step("all changes, with who and why", "log", name, policies=policies)]
    else:
        share, rest = f"{percent:g} % of the events", f"version {change.now.active} for the rest"
        text = f"{name}: version {version} decides for {share}, {rest}"
        steps = [
            step("what it decides otherwise, once events have come", "rollout", name, policies=policies),
            step("let it decide for all", "promote", reference, policies=policies),
            step("end it", "canary", reference, "--off", policies=policies),
        ]
    _finish(name, text, change, steps, wait, as_json)


def _store(policies: Path | None, actor: str | None, as_json: bool) -> PolicyStore:
    """Return the store, which checks a version before it gets a role as far as this machine can."""
    folder = policies_folder(policies)

    def check(policy: Policy) -> None:
        rows = unmet_rows(folder, policy, encoder=_encoder_facts)
        refuse_errors(f"{policy.reference} does not go live", rows, as_json)

    return PolicyStore(folder, check, actor or current_user())


def _active_text(name: str, change: Activation) -> str:
    before, pointer = change.before, change.now
    was = "" if before is None else " already" if before == pointer else f" (before: version {before.active})"
    return f"{name}: version {pointer.active} is active{was}"


def _finish_activation(
    name: str, change: Activation, policies: Path | None, wait: float | None, as_json: bool
) -> None:
    now = f"{name}@{change.now.active}"
    steps = [step(f"write the next version from {now}", "new", name, "--from", now, policies=policies)]
    if change.before is not None and change.before.active != change.now.active:
        back = step(
            f"undo: version {change.before.active} decides again", "rollback", name, policies=policies
        )
        steps.insert(0, back)
    _finish(name, _active_text(name, change), change, steps, wait, as_json)


def _finish(
    name: str, text: str, change: Activation, steps: Sequence[NextStep], wait: float | None, as_json: bool
) -> None:
    """Wait for the workers, and print a change; end with 1 if they were to have it and have not."""
    pointer = change.now
    state = None
    if not as_json:
        typer.echo(text)
        # What the change was about is said already.
        if pointer.shadow and change.before is not None and pointer.shadow == change.before.shadow:
            typer.echo(f"shadow: {', '.join(map(str, pointer.shadow))}")
        if pointer.canary and change.before is not None and pointer.canary == change.before.canary:
            typer.echo(f"canary: version {pointer.canary.version} decides for {pointer.canary.percent:g} %")
    state = wait_for_workers(name, pointer, wait)
    if as_json:
        was = change.before.active if change.before else None
        facts = {"name": name, **pointer.model_dump(mode="json"), "previous": was, "workers": state.facts()}
        typer.echo(json.dumps({**facts, "next": [one.command for one in steps]}))
    else:
        print_workers(state)
        print_steps(steps)
    if wait and not state.complete:
        raise typer.Exit(1)


def _encoder_facts() -> EncoderFacts | None:
    """Return the facts of the settings' encoder; report and return None if it cannot be loaded on this machine."""
    from moderator.encoders.encoder_registry import encoder_of  # the model libraries take seconds to load

    try:
        encoder = encoder_of(load_settings())
    except ModeratorError as error:
        typer.echo(f"not compared with the encoder, which cannot be loaded here: {error}", err=True)
        return None
    return encoder.identity, encoder.dimension
