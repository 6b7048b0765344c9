"""`moderator policy lint`: what is wrong in a folder of policies, and what is probably a mistake."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from moderator.cli.next_steps import NextStep, print_steps, step
from moderator.cli.options import JsonOption, PoliciesOption, policies_folder, policy_reference
from moderator.cli.output import console, print_json
from moderator.cli.policy_findings import finding_rows, print_rows, problem_row, problem_rows, unmet_rows
from moderator.cli.policy_sample import SampleCounts, examine_by_embedding, print_samples
from moderator.errors import PolicyInvalid
from moderator.policies.catalogue import Catalogue
from moderator.policies.lint_finding import Severity
from moderator.policies.schema import Policy
from moderator.policies.snapshot import Snapshot


def lint(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME[@VERSION]]...", help="Without any: all policies.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="FOLDER",
            help="Say how many of these images would be flagged. A CSV file works, too.",
        ),
    ] = None,
    no_embedding: Annotated[
        bool, typer.Option("--no-embedding", help="Do not load the model: look at the files alone.")
    ] = False,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that all files load, and find probable mistakes in valid ones. Ends with 1 on an error.

    Prompts are also compared by the model: near-duplicates, contradictions, prompts that it does not read to the end,
    thresholds that nothing reaches.

    Examples:

      moderator policy lint marketplace@4 --images photos/

      moderator policy lint --no-embedding --json
    """
    if no_embedding and images is not None:
        raise typer.BadParameter("--images needs the model; leave out --no-embedding")
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
    if wanted:
        rows = [row for row in rows if row.concerns(wanted)]
        checked = [p for p in checked if any(p.name == n and v in (None, p.version) for n, v in wanted)]
    usable: list[Policy] = []
    for policy in checked:
        rows += finding_rows(folder, policy)
        # A released version that no pointer names may exist before its signal files are fetched.
        idle = (policy.name, policy.version) in snapshot.releases and not _in_use(snapshot, policy)
        unmet = unmet_rows(folder, policy, Severity.WARNING if idle else Severity.ERROR)
        rows += unmet
        if not unmet:
            usable.append(policy)
    samples: Sequence[SampleCounts] = ()
    if not no_embedding:
        found, samples = examine_by_embedding(folder, usable, images, quiet=as_json)
        for policy, findings in found:
            rows += finding_rows(folder, policy, findings)
    print_rows(rows, as_json)
    counts = {s: sum(row.severity is s for row in rows) for s in Severity}
    if as_json:
        for sample in samples:
            print_json(sample.facts())
    else:
        print_samples(samples)
        summary = ", ".join(f"{n} {s}{'' if n == 1 else 's'}" for s, n in counts.items())
        console.print(f"{len(checked)} valid version{'' if len(checked) == 1 else 's'}: {summary}")
        if len(checked) == 1:
            print_steps(_steps(snapshot, checked[0], bool(counts[Severity.ERROR]), policies))
    if counts[Severity.ERROR]:
        raise typer.Exit(1)


def _in_use(snapshot: Snapshot, policy: Policy) -> bool:
    resolved = snapshot.resolved.get(policy.name)
    return resolved is not None and policy in (resolved.active, resolved.canary, *resolved.shadows)


def _steps(snapshot: Snapshot, policy: Policy, failed: bool, policies: Path | None) -> list[NextStep]:
    """Return what may come next for one version."""
    reference = policy.reference
    if failed:
        return [step("after the errors are corrected", "lint", reference, policies=policies)]
    if _in_use(snapshot, policy):
        return [
            step(
                f"write the next version from {reference}",
                "new",
                policy.name,
                "--from",
                reference,
                policies=policies,
            )
        ]
    resolved = snapshot.resolved.get(policy.name)
    if (policy.name, policy.version) in snapshot.releases:
        if resolved is None:
            return [step("let it decide", "activate", reference, policies=policies)]
        return [step("score it beside the active version", "shadow", reference, policies=policies)]
    release = step("from then on it never changes, and may decide", "release", reference, policies=policies)
    if resolved is None:
        return [release]
    compared = step("what it changes", "diff", resolved.active.reference, reference, policies=policies)
    return [compared, release]
