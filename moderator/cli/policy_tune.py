"""`moderator policy tune`: a draft with better thresholds, prompts or probes, chosen by labelled images."""

from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from moderator.cli.next_steps import print_steps, step
from moderator.cli.options import (
    JsonOption,
    PoliciesOption,
    counting,
    loading,
    policy_reference,
    policy_settings,
)
from moderator.cli.output import console, errors, plain, print_json
from moderator.cli.policy_evaluate import IgnoreOption, LabelledOption, MapOption, label_map, report_failures

if TYPE_CHECKING:
    from moderator.tuning.tuning_run import TuningResult


class CalibrationKind(StrEnum):
    """How scores become shares."""

    PLATT = "platt"
    ISOTONIC = "isotonic"


def tune(
    reference: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The version to start from.")],
    data: LabelledOption,
    target: Annotated[
        str,
        typer.Option(
            help="What thresholds are chosen for: 'fpr<=1%' or 'recall>=95%' in each category, or 'review<=200/day' of "
            "all together."
        ),
    ] = "fpr<=1%",
    per_day: Annotated[
        int | None,
        typer.Option("--per-day", min=1, metavar="UPLOADS", help="Uploads a day, for review<=N/day."),
    ] = None,
    prompts: Annotated[bool, typer.Option("--prompts", help="Also search prompts and templates.")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also learn a probe from the examples of each category.")
    ] = False,
    calibrate: Annotated[
        CalibrationKind | None,
        typer.Option(help="Map scores to the share of such images that show the category."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the splits.")] = 0,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report with charts.")
    ] = None,
    mapped: MapOption = None,
    ignored: IgnoreOption = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Choose thresholds for a target by labelled images, and write them as a new draft for this encoder.

    Seven of ten images choose, the others report, so that the figures are honest. The version itself never changes.

    Examples:

      moderator policy tune marketplace@4 --data labels.csv --target "fpr<=1%"

      moderator policy tune marketplace --data labels.csv --target "review<=200/day" --per-day 10000 --prompts

      moderator policy tune marketplace --data labels.csv --target "recall>=95%" --probe --calibrate platt
    """
    name, version = policy_reference(reference)
    mapping = label_map(mapped)

    from moderator.tuning.draft_policy import read_version, write_draft
    from moderator.tuning.labelled_images import load_labelled, open_engine
    from moderator.tuning.probe_files import write_probes
    from moderator.tuning.threshold_choice import parse_target
    from moderator.tuning.tuning_bench import TuningBench
    from moderator.tuning.tuning_fit import TuningOptions
    from moderator.tuning.tuning_run import tune_policy
    from moderator.tuning.tuning_texts import note_of, record_of_tuning

    wanted = parse_target(target, per_day)
    settings = policy_settings(policies)
    folder = settings.policies
    with ExitStack() as stack:
        with loading():
            engine = stack.enter_context(open_engine(settings))
        policy = engine.catalogue.get(name, version)
        text = read_version(folder, policy)
        with counting("judging", as_json) as progress:
            images = load_labelled(
                data,
                engine,
                [policy],
                progress=progress,
                mapping=mapping,
                ignored=frozenset(ignored or ()),
                variants=probe,
            )
        report_failures(images)
        with errors.status("comparing prompts and thresholds"):
            bench = TuningBench(policy, engine.compiler, images)
            options = TuningOptions(prompts, probe, seed)
            result = tune_policy(text, bench, wanted, options, calibrate)
    write_probes(folder, result.files)
    note = note_of(result, policy.reference, data.name, seed, images.identity.id)
    path = write_draft(folder, result.text, note)
    draft = f"{name}@{path.stem}"
    if html is not None:
        from moderator.tuning.tuning_report import tuning_report

        facts = [
            ("Encoder", f"{images.identity.id}, revision {images.identity.revision[:24]}"),
            ("Images", f"{len(images):,} from {data.name}; {len(images.failed):,} could not be judged"),
            ("Target", wanted.text),
            ("Made", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by moderator policy tune, seed {seed}"),
        ]
        tuning_report(result, policy.reference, draft, facts).write(html)
    if as_json:
        print_json(
            {"policy": policy.reference, "draft": draft, "path": str(path), **record_of_tuning(result)}
        )
        return
    _print(result)
    console.print(plain(f"draft: {path}"), soft_wrap=True)
    if html is not None:
        console.print(plain(f"report: {html}"), soft_wrap=True)
    print_steps(
        [
            step("what changes", "diff", policy.reference, draft, policies=policies),
            step("put it into force later", "release", draft, policies=policies),
        ]
    )


def _print(result: "TuningResult") -> None:
    from moderator.tuning.evaluation_texts import percent
    from moderator.tuning.tuning_texts import changes_of, sentences

    for sentence in sentences(result):
        console.print(plain(sentence), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("category", overflow="fold")
    for heading in ("found", "now", "false alarms", "now", "found at 5 %", "now", "estimated"):
        table.add_column(heading, justify="right")
    for name, one in result.categories.items():
        table.add_row(
            plain(name),
            percent(one.before.found.value),
            percent(one.after.found.value),
            percent(one.before.false_alarms.value, 1),
            percent(one.after.false_alarms.value, 1),
            percent(one.before.recall.value),
            percent(one.after.recall.value),
            percent(one.estimated.value),
        )
    console.print(table)
    for name, one in result.categories.items():
        for line in changes_of(one):
            console.print(plain(f"{name}: {line}"), soft_wrap=True)
