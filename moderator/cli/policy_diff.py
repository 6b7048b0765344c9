"""`moderator policy diff`: what differs between two versions of a policy, in words and on images."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from moderator.cli.next_steps import NextStep, print_steps, step
from moderator.cli.options import (
    JsonOption,
    PoliciesOption,
    counting,
    loading,
    policies_folder,
    policy_reference,
    policy_settings,
)
from moderator.cli.output import console, plain
from moderator.errors import PolicyNotFound
from moderator.policies.catalogue import Catalogue
from moderator.policies.schema import Policy

if TYPE_CHECKING:
    from moderator.tuning.policy_diff import ImageChange, PartDiff

_LISTED = 20


def diff(
    first: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@VERSION]", help="The version before; alone: the one after the active version."
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME[@VERSION]]", help="The version after; without a version: the active one."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="FOLDER",
            help="Judge these images by both, and list those decided differently. Or a CSV.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a report with the pictures; needs --images."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most images to list, most changed first.")] = _LISTED,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what differs between two versions: prompts, thresholds, and the images whose decision changes.

    Examples:

      moderator policy diff marketplace@3 marketplace@4 --images photos/ --html changes.html

      moderator policy diff marketplace@4
    """
    if html is not None and images is None:
        raise typer.BadParameter("--html shows images; say --images FOLDER as well")
    folder = policies_folder(policies)
    catalogue = Catalogue(folder)
    before, after = _versions(catalogue, first, second)
    from moderator.tuning.policy_diff import count_transitions, diff_policies

    parts = diff_policies(before, after)
    changes: list[ImageChange] = []
    count = None
    if images is not None:
        count, changes = _compare(folder, before, after, images, html, parts, limit, as_json)
    steps = _steps(catalogue, after, policies)
    if as_json:
        facts: dict[str, Any] = {
            "before": {"policy": before.reference, "digest": before.digest},
            "after": {"policy": after.reference, "digest": after.digest},
            "parts": [asdict(part) for part in parts],
            "images": None,
            "next": [one.command for one in steps],
        }
        if count is not None:
            shown = [{**asdict(change), "path": str(change.path)} for change in changes[:limit]]
            facts["images"] = {
                "count": count,
                "changed": len(changes),
                "transitions": count_transitions(changes),
                "most_changed": shown,
            }
        typer.echo(json.dumps(facts))
        return
    console.print(plain(f"{before.reference} -> {after.reference}"), highlight=False)
    _print_parts(parts)
    if count is not None:
        _print_changes(changes, count, limit)
    if html is not None:
        console.print(plain(f"report: {html}"), soft_wrap=True, highlight=False)
    print_steps(steps)


def _versions(catalogue: Catalogue, first: str, second: str | None) -> tuple[Policy, Policy]:
    name, version = policy_reference(first)
    if second is not None:
        return catalogue.get(name, version), catalogue.get(*policy_reference(second))
    if version is None:
        raise typer.BadParameter(f"name the version that differs from the active one, such as {name}@2")
    after = catalogue.get(name, version)
    try:
        return catalogue.get(name), after
    except PolicyNotFound as error:
        raise typer.BadParameter(f"{error}; or name two versions") from error


def _compare(
    folder: Path,
    before: Policy,
    after: Policy,
    images: Path,
    html: Path | None,
    parts: "Sequence[PartDiff]",
    limit: int,
    quiet: bool,
) -> "tuple[int, list[ImageChange]]":
    """Judge images by both versions; return their number, and those decided differently, most changed first."""
    from contextlib import ExitStack

    from moderator.scoring.batch_decisions import decide_block
    from moderator.tuning.file_thumbnails import file_thumbnails
    from moderator.tuning.labelled_images import load_unlabelled, open_engine
    from moderator.tuning.policy_diff import changed_images
    from moderator.tuning.policy_diff_report import policy_diff_report

    settings = policy_settings(folder)
    with ExitStack() as stack:
        with loading():
            engine = stack.enter_context(open_engine(settings))
        with counting("judging", quiet) as progress:
            sample = load_unlabelled(
                images,
                engine,
                [before, after],
                progress=progress,
            )
        one, other = (
            decide_block(engine.compiler.compile(policy), sample.block_for(policy))
            for policy in (before, after)
        )
        labels = sample.columns.get("label", ())
        changes = changed_images(sample.paths, one, other, sample.unseen, labels)
        if html is not None:
            thumbnails = file_thumbnails(engine, [change.path for change in changes[:limit]])
            policy_diff_report(before, after, parts, len(sample), changes, list(thumbnails)).write(html)
    return len(sample), changes


def _steps(catalogue: Catalogue, after: Policy, policies: Path | None) -> list[NextStep]:
    reference = after.reference
    if (after.name, after.version) not in catalogue.snapshot.releases:
        return [
            step("from then on it never changes, and may decide", "release", reference, policies=policies)
        ]
    resolved = catalogue.snapshot.resolved.get(after.name)
    if resolved is None:
        return [step("let it decide", "activate", reference, policies=policies)]
    if after in (resolved.active, resolved.canary, *resolved.shadows):
        return [step("all changes, with who and why", "log", after.name, policies=policies)]
    return [step("score it beside the active version", "shadow", reference, policies=policies)]


def _print_parts(parts: "Sequence[PartDiff]") -> None:
    if not parts:
        console.print("nothing differs but the version", highlight=False)
    for part in parts:
        state = f" ({part.state})" if part.state != "changed" else ""
        console.print(plain(f"{part.name or 'policy'}{state}"), style="bold", highlight=False)
        for sign, colour, lists in (("+", "green", part.added), ("-", "red", part.removed)):
            for side, texts in lists.items():
                for text in texts:
                    prompt = Text(f"  {sign} {side:6}  ", colour).append_text(plain(text))
                    console.print(prompt, soft_wrap=True, highlight=False)
        for key in part.keys:
            if part.state == "changed" or key.after is not None:
                line = f"    {key.key}: {_value(key.before)} -> {_value(key.after)}"
                console.print(plain(line), soft_wrap=True, highlight=False)


def _print_changes(changes: "Sequence[ImageChange]", count: int, limit: int) -> None:
    from moderator.tuning.policy_diff import count_transitions

    totals = ", ".join(f"{n} {transition}" for transition, n in count_transitions(changes).items())
    noun = f"image{'' if count == 1 else 's'} {'is' if len(changes) == 1 else 'are'}"
    console.print(
        f"{len(changes)} of {count} {noun} decided differently{': ' if totals else ''}{totals}",
        highlight=False,
    )
    for change in changes[:limit]:
        scores = f"{_value(change.score_before)} -> {_value(change.score_after)}"
        label = f" (label: {change.label})" if change.label else ""
        line = f"  {change.before} -> {change.after}  {change.category} {scores}  {change.path}{label}"
        console.print(plain(line), soft_wrap=True, highlight=False)
    if len(changes) > limit:
        console.print(f"  and {len(changes) - limit} more; --limit shows more", highlight=False)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
