"""`moderator policy new`: words in, a draft with hard negatives out."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderator.cli.next_steps import print_steps, step
from moderator.cli.options import JsonOption, PoliciesOption, loading, policies_folder, policy_reference
from moderator.cli.output import console, errors, plain
from moderator.errors import ModeratorError
from moderator.policies.catalogue import Catalogue
from moderator.policies.fields import NEVER_WORD, SLOT
from moderator.policies.loader import load_policy
from moderator.policies.schema import Policy
from moderator.settings import load_settings

if TYPE_CHECKING:
    from moderator.tuning.new_policy import PolicyWords, Proposals

#: Thresholds of a first draft: it is cautious about blocks until somebody has measured it.
REVIEW_THRESHOLD, BLOCK_THRESHOLD = 0.5, 0.9
#: Most hard negatives that are proposed for a category unless the command says otherwise.
PROPOSALS_MAX = 8


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the policy, such as marketplace.")],
    unsafe: Annotated[
        list[str] | None,
        typer.Option(
            "--unsafe",
            metavar="CATEGORY=TEXT",
            help="What pictures of a category show, several separated by ';'. Repeat it for other categories. "
            "Without any, the command asks.",
        ),
    ] = None,
    safe: Annotated[
        list[str] | None,
        typer.Option(
            "--safe",
            metavar="[CATEGORY=]TEXT",
            help="What must not be mistaken for it, or, without a category, for any.",
        ),
    ] = None,
    description: Annotated[str, typer.Option(metavar="TEXT", help="What the policy is for.")] = "",
    base: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NAME[@VERSION]", help="Start from this version, and add the rest to it."
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option("--template", metavar="TEXT", help=f"Into which prompts are put at {SLOT}."),
    ] = None,
    review: Annotated[
        float | None,
        typer.Option(min=0, max=1, help=f"Score from which people look. Default: {REVIEW_THRESHOLD}."),
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(help=f"Score from which it is blocked, or never. Default: {BLOCK_THRESHOLD}."),
    ] = None,
    negatives: Annotated[
        int,
        typer.Option(min=0, max=50, help="Most hard negatives to propose for a category; 0 needs no model."),
    ] = PROPOSALS_MAX,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a draft of a policy from words. Hard negatives are proposed: what the model may mistake for them.

    Without `--unsafe` and on a terminal, the command asks for the words. The draft changes nothing until it is released
    and activated.

    Examples:

      moderator policy new pets --unsafe "live-animals=a cat; a dog; a bird in a cage"

      moderator policy new pets --from pets@1 --safe "live-animals=a plush toy"
    """
    from moderator.tuning.draft_policy import write_draft
    from moderator.tuning.new_policy import PolicyWords, first_text, next_text

    if policy_reference(name)[1] is not None:
        raise typer.BadParameter("name the policy alone; the version is the next one")
    folder = policies_folder(policies)
    words = PolicyWords(name, description, tuple(template or ()), review=review, block=_threshold(block))
    _read_options(words, unsafe or (), safe or ())
    asks = base is None and not words.categories
    if asks and not sys.stdin.isatty():
        raise typer.BadParameter("say --unsafe CATEGORY=TEXT, or --from VERSION, or run it on a terminal")
    if base is not None:
        before, text = _read_base(folder, base, name)
        needed = negatives if any(one.unsafe for one in words.categories.values()) else 0
        _propose(words, _proposals(words.templates or before.templates, needed), before.safe)
        content, note = next_text(text, words), f"from {before.reference} by 'moderator policy new'."
    else:
        if not words.templates:
            words.templates = (SLOT,) if load_settings().encoder == "embedded" else (f"a photo of {SLOT}",)
        proposals = _proposals(words.templates, negatives)
        if asks:
            _interview(words, proposals)
        else:
            _propose(words, proposals)
        if not words.safe:
            words.safe = _ordinary(words, proposals)
        words.review = REVIEW_THRESHOLD if words.review is None else words.review
        words.block = BLOCK_THRESHOLD if words.block is None else words.block
        content, note = first_text(words), "written by 'moderator policy new'."
    if not asks and any(one.proposed for one in words.categories.values()):
        note += " Some safe prompts were proposed: remove those that are not allowed either."
    path = write_draft(folder, content, note)
    _report(words, path, policies, asks, as_json)


def _threshold(text: str | None) -> float | str | None:
    if text is None or text == NEVER_WORD:
        return text
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(f"--block {text}: neither a number nor '{NEVER_WORD}'") from error


def _read_options(words: "PolicyWords", unsafe: Sequence[str], safe: Sequence[str]) -> None:
    from moderator.cli.policy_interview import split_words

    for option in unsafe:
        category, found, text = option.partition("=")
        if not found or not split_words(text):
            raise typer.BadParameter(
                f"--unsafe {option!r}: write CATEGORY=TEXT, such as 'weapons=a gun; a rifle'"
            )
        words.category(category.strip()).unsafe += split_words(text)
    for option in safe:
        category, found, text = option.partition("=")
        if found:
            words.category(category.strip()).safe += split_words(text)
        else:
            words.safe += split_words(option)


def _read_base(folder: Path, reference: str, name: str) -> tuple[Policy, str]:
    """Return the version to start from, and its text with the new name."""
    from moderator.tuning.draft_policy import edit_policy, read_version

    base_name, version = policy_reference(reference)
    policy = Catalogue(folder).get(base_name, version)
    text = read_version(folder, policy)
    return policy, text if policy.name == name else edit_policy(text, {("name",): name})


def _proposals(templates: Sequence[str], negatives: int) -> "Proposals | None":
    """Return what proposes prompts; report and return None where the encoder cannot be loaded."""
    if not negatives:
        return None
    with loading():
        from moderator.encoders.encoder_registry import encoder_of
        from moderator.engine.compiler import Compiler
        from moderator.tuning.new_policy import Proposals

        settings = load_settings()
        try:
            compiler = Compiler(encoder_of(settings), settings.cache)
        except ModeratorError as error:
            errors.print(
                plain(f"nothing is proposed, because the encoder cannot be loaded here: {error}"),
                soft_wrap=True,
            )
            return None
    return Proposals(compiler, templates, negatives)


def _propose(words: "PolicyWords", proposals: "Proposals | None", shared: Sequence[str] = ()) -> None:
    """Add hard negatives to the categories that have words."""
    for one in words.categories.values():
        if proposals is not None and one.unsafe:
            with errors.status("looking for what may be mistaken for it (longer the first time)"):
                one.proposed = proposals.hard_negatives(one.unsafe, [*shared, *words.safe, *one.safe])
            one.safe += one.proposed


def _ordinary(words: "PolicyWords", proposals: "Proposals | None") -> list[str]:
    from moderator.tuning.new_policy import ORDINARY

    if proposals is None:
        return list(ORDINARY)
    return proposals.ordinary([text for one in words.categories.values() for text in one.unsafe])


def _interview(words: "PolicyWords", proposals: "Proposals | None") -> None:
    from moderator.cli.policy_interview import interview

    def ask(question: str) -> str:
        suffix = " " if question.endswith("?") else ": "
        return str(typer.prompt(question, default="", show_default=False, prompt_suffix=suffix)).strip()

    def propose(unsafe: Sequence[str]) -> list[str]:
        if proposals is None:
            return []
        with errors.status("looking for what may be mistaken for it (longer the first time)"):
            return proposals.hard_negatives(unsafe, words.safe)

    interview(words, ask, lambda line: console.print(plain(line), highlight=False), propose)


def _report(words: "PolicyWords", path: Path, policies: Path | None, asked: bool, as_json: bool) -> None:
    policy = load_policy(path)
    steps = [step("what is probably wrong with it", "lint", policy.reference, policies=policies)]
    if as_json:
        facts = {
            "name": policy.name,
            "version": policy.version,
            "path": str(path),
            "digest": policy.digest,
            "proposed": {name: one.proposed for name, one in words.categories.items()},
            "next": [one.command for one in steps],
        }
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    typer.echo(f"{policy.reference} is a draft: {path}")
    if not asked and any(one.proposed for one in words.categories.values()):
        for name, one in words.categories.items():
            line = f"{name}: proposed as not to be mistaken for it: {', '.join(one.proposed) or 'nothing'}"
            console.print(plain(line), highlight=False)
        console.print("Remove from the file what is not allowed either.", highlight=False)
    print_steps(steps)
