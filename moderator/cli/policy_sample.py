"""What `moderator policy lint` finds with the model: in the prompts, and on a sample of images."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moderator.cli.options import counting, loading, policy_settings
from moderator.cli.output import Rows, console, errors, plain
from moderator.errors import ModeratorError
from moderator.policies.lint_finding import LintFinding, Severity
from moderator.policies.schema import Policy

if TYPE_CHECKING:
    from moderator.encoders.encoder import Encoder
    from moderator.engine.compiler import Compiler
    from moderator.engine.engine import Engine
    from moderator.scoring.batch_decisions import BatchDecisions
    from moderator.tuning.labelled_images import LabelledImages

Found = list[tuple[Policy, list[LintFinding]]]


@dataclass(frozen=True)
class SampleCounts:
    """What a version does to a sample of images."""

    policy: str
    images: int
    review: int
    block: int
    not_computable: int
    categories: dict[str, dict[str, Any]]
    failed: int

    def facts(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dict(vars(self))


def examine_by_embedding(
    folder: Path, policies: Sequence[Policy], images: Path | None, quiet: bool
) -> tuple[Found, list[SampleCounts]]:
    """Return what the model finds in policies, and what they do to a sample of images.

    The encoder is loaded once. Where it cannot be loaded, that is reported, and nothing is found.

    Args:
        folder: of the policies.
        policies: valid ones, whose signals can be used here.
        images: a folder or a CSV file.
        quiet: whether to show no progress.
    """
    if not policies or (images is None and not any(policy.prompt_count for policy in policies)):
        return [], []
    with ExitStack() as stack:
        try:
            with loading():
                compiler, encoder, engine = _open(folder, stack, images is not None)
        except ModeratorError as error:
            if images is not None:
                raise
            line = f"the prompts are not compared, because the encoder cannot be loaded here: {error}"
            errors.print(plain(line), soft_wrap=True, highlight=False)
            return [], []
        with errors.status("comparing prompts"):
            found = [(policy, list(_findings(compiler, encoder, policy))) for policy in policies]
        if engine is None or images is None:
            return found, []
        usable = [policy for policy in policies if _compiles(compiler, policy)]
        return found, _sample(engine, usable, images, found, quiet)


def print_samples(samples: Sequence[SampleCounts]) -> None:
    """Print what versions do to a sample, as a table with a line for each category that flags something."""
    if not samples:
        return
    from rich.table import Column

    width = max(len(f"{one.policy} {name}") for one in samples for name in ("", *one.categories))
    table = Rows(
        Column("sample", width=max(width, 12)),
        *(Column(name, justify="right", width=9) for name in ("images", "review", "block", "highest")),
    )
    for one in samples:
        table.add(plain(one.policy), str(one.images), str(one.review), str(one.block), "")
        for name, counts in one.categories.items():
            highest = "-" if counts["highest"] is None else f"{counts['highest']:.2f}"
            table.add(plain(f"  {name}"), "", str(counts["review"]), str(counts["block"]), highest)
    if failed := max(one.failed for one in samples):
        console.print(f"{failed} more files cannot be read as images", highlight=False)


def _open(folder: Path, stack: ExitStack, with_images: bool) -> "tuple[Compiler, Encoder, Engine | None]":
    settings = policy_settings(folder)
    if with_images:
        from moderator.tuning.labelled_images import open_engine

        engine = stack.enter_context(open_engine(settings))
        return engine.compiler, engine.encoder, engine
    from moderator.encoders.encoder_registry import encoder_of
    from moderator.engine.compiler import Compiler

    encoder = encoder_of(settings)
    return Compiler(encoder, settings.cache), encoder, None


def _findings(compiler: "Compiler", encoder: "Encoder", policy: Policy) -> Iterator[LintFinding]:
    from moderator.tuning.text_lint import cut_findings, text_findings
    from moderator.tuning.vocabulary import everyday_vocabulary, typical_cosine

    try:
        compiled = compiler.compile(policy)
    except ModeratorError as error:
        path = ("encoders",) if policy.encoders else ()
        yield LintFinding(path, Severity.WARNING, f"cannot be used with the encoder of the settings: {error}")
        return
    if not compiled.layout.prompts:
        return
    everyday = everyday_vocabulary(compiler, policy.templates[:1])
    yield from text_findings(compiled, typical_cosine(everyday.matrix))
    yield from cut_findings(policy, encoder.truncated)


def _compiles(compiler: "Compiler", policy: Policy) -> bool:
    try:
        compiler.compile(policy)
    except ModeratorError:
        return False
    return True


def _sample(
    engine: "Engine", policies: Sequence[Policy], images: Path, found: Found, quiet: bool
) -> list[SampleCounts]:
    """Judge a sample by versions, and add to `found` what no picture reaches."""
    from moderator.scoring.batch_decisions import decide_block
    from moderator.tuning.labelled_images import load_unlabelled
    from moderator.tuning.text_lint import sample_findings

    with counting("judging", quiet) as progress:
        sample = load_unlabelled(
            images,
            engine,
            policies,
            progress=progress,
        )
    counts = []
    findings = {policy.digest: several for policy, several in found}
    for policy in policies:
        compiled = engine.compiler.compile(policy)
        decisions = decide_block(compiled, sample.block_for(policy))
        findings[policy.digest] += sample_findings(compiled, decisions)
        counts.append(_counts(policy, decisions, sample))
    return counts


def _counts(policy: Policy, decisions: "BatchDecisions", sample: "LabelledImages") -> SampleCounts:
    import numpy as np

    categories = {}
    for column, name in enumerate(decisions.categories):
        levels, scores = decisions.levels[:, column], decisions.scores[:, column]
        highest = None if np.isnan(scores).all() else round(float(np.nanmax(scores)), 4)
        categories[name] = {
            "review": int((levels == 1).sum()),
            "block": int((levels == 2).sum()),
            "highest": highest,
        }
    return SampleCounts(
        policy=policy.reference,
        images=len(sample),
        review=int((decisions.decisions == 1).sum()),
        block=int((decisions.decisions == 2).sum()),
        not_computable=int((decisions.decisions == -1).sum()),
        categories=categories,
        failed=len(sample.failed),
    )
