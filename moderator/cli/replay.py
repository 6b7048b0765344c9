"""`moderator replay`: judge an archived verdict again, and explain it."""

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from moderator.cli.options import JsonOption, PoliciesOption, loading, policy_settings
from moderator.cli.output import COLOURS, console, plain, print_json

if TYPE_CHECKING:
    from moderator.fetching.fetcher import Fetcher
    from moderator.tuning.replay import Replay
    from moderator.verdicts import Verdict


def replay(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Id of the event.")],
    source: Annotated[str | None, typer.Option(help="Source of the event, if several use the id.")] = None,
    image: Annotated[
        bool,
        typer.Option(
            "--image", help="Judge the image's bytes, fetched by the key in the verdict, not its embedding."
        ),
    ] = False,
    file: Annotated[
        Path | None, typer.Option(help="Judge the image's bytes, from this file.", metavar="FILE")
    ] = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge an archived verdict again, and explain it.

    The version of the policy that decided judges the embedding and the signal readings that the archive keeps, so a
    verdict can be proved after the image is gone. Ends with 1 if a decision is another one.

    Examples:

      moderator replay order-4711

      moderator replay order-4711 --file photo.jpg --json
    """
    from moderator.archive.archive_store import open_archive
    from moderator.fetching.fetcher import Fetcher
    from moderator.tuning.labelled_images import open_engine
    from moderator.tuning.replay import replay as judge_again
    from moderator.tuning.replay_record import record_of

    settings = policy_settings(policies)
    with ExitStack() as stack:
        archive = stack.enter_context(closing(open_archive(settings)))
        with loading():
            engine = stack.enter_context(open_engine(settings))
        fetch = None
        if file is not None:
            content = file.read_bytes()

            def fetch(verdict: "Verdict") -> bytes:
                return content
        elif image:
            fetcher = stack.enter_context(closing(Fetcher.from_settings(settings)))

            def fetch(verdict: "Verdict") -> bytes:
                return _fetch(fetcher, verdict)

        found = judge_again(archive, engine, event, source, fetch)
    if as_json:
        print_json(record_of(found))
    else:
        _show(found)
    if not found.same_decision:
        raise typer.Exit(1)


def _fetch(fetcher: "Fetcher", verdict: "Verdict") -> bytes:
    from moderator.errors import ReplayImpossible
    from moderator.tuning.backtest_samples import image_reference

    reference = image_reference(verdict)
    if reference is None:
        raise ReplayImpossible(
            "the archive keeps no reference to the image, only keys of buckets; name its file with --file"
        )
    return fetcher.fetch(reference)


def _show(found: "Replay") -> None:
    from moderator.policies.fields import threshold_text

    verdict, compiled, now = found.archived, found.judged.compiled, found.judged.judgement
    policy = compiled.policy
    lines = [
        f"event      {verdict.event_id} of {verdict.source}, decided {verdict.created_at:%Y-%m-%d %H:%M:%S} UTC",
        f"policy     {policy.reference}, digest {policy.digest}",
        f"model      {found.model.id}, revision {found.model.revision}",
        f"judged by  {'the image' if found.from_image else 'the archived embedding'}",
        f"decision   {verdict.decision} then, {now.decision} now",
        *(
            []
            if verdict.diverted is None
            else [f"diverted   from block to review by the {verdict.diverted.reason}"]
        ),
        f"scores     differ by at most {found.score_difference:.2g}",
    ]
    for line in lines:
        console.print(plain(line), highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("category", "then", "now", "review", "block", "decision"):
        table.add_column(heading, justify="left" if heading in ("category", "decision") else "right")
    table.add_column("because", ratio=1)
    for name, category in now.categories.items():
        spec, before = compiled.categories[name], verdict.categories.get(name)
        table.add_row(
            plain(name),
            "-" if before is None else f"{before.score:.4f}",
            f"{category.score:.4f}",
            "-" if spec.review is None else f"{spec.review:g}",
            threshold_text(spec.block),
            plain(category.decision),
            plain(_because(found, name)),
            style=COLOURS[category.decision] if category.decision != "allow" else "",
        )
    console.print(table)
    if not found.same_decision:
        console.print("the decision is another one", style="red")


def _because(found: "Replay", name: str) -> str:
    """Return what a category's score comes from."""
    spec, category = found.judged.compiled.categories[name], found.judged.judgement.categories[name]
    if spec.when is not None:
        return f"when {spec.when}"
    parts = [f"{top.prompt} ({top.side}) {top.similarity:.3f}" for top in category.top_prompts]
    for signal in (spec.signal, spec.probe.signal if spec.probe is not None else None):
        if signal is not None:
            parts.append(f"signal {signal} {found.judged.signals[signal]['score']:.3f}")
    if category.view is not None:
        parts.append(f"in the view {category.view.name} {category.view.box}")
    if category.decided_by is not None:
        parts.append(f"cleared by {category.decided_by}")
    return "; ".join(parts)
