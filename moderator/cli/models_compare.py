"""`moderator models compare`: the decisions of a policy on two encoders, and thresholds for the new one."""

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
from moderator.cli.output import console, plain, print_json
from moderator.cli.policy_evaluate import IgnoreOption, MapOption, label_map, report_failures

if TYPE_CHECKING:
    from moderator.tuning.model_swap import ModelSwap

_CHANGED_SHOWN_MAX = 10


def compare(
    old: Annotated[str, typer.Argument(metavar="OLD", help="As in MODERATOR_ENCODER, such as embedded.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Such as clip:ID or a folder, clip:./model.")],
    data: Annotated[
        Path, typer.Option(help="CSV with path and label, or a folder with a folder of images per label.")
    ],
    policy: Annotated[
        str | None,
        typer.Option(metavar="NAME[@VERSION]", help="Default: the active version of the default policy."),
    ] = None,
    mapped: MapOption = None,
    ignored: IgnoreOption = None,
    policies: PoliciesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide the same images by a policy on two encoders, and write a draft with thresholds for the new one.

    The thresholds keep how many images each category flags and blocks (quantile matching); labels do not matter for
    that. The scores of two encoders are on two scales, so thresholds of one mean nothing on the other.

    Examples:

      moderator models compare embedded clip:openai/clip-vit-large-patch14 --data uploads.csv --policy marketplace@4
    """
    from moderator.tuning.draft_policy import read_version, write_draft
    from moderator.tuning.labelled_images import load_labelled, open_engine
    from moderator.tuning.model_swap import LEVELS, compare_encoders, scales_of, swap_text
    from moderator.tuning.tuning_bench import changed_policy

    settings = policy_settings(policies)
    name, version = policy_reference(policy or settings.default_policy)
    found = []
    for encoder in (old, new):
        with loading():
            opened = open_engine(settings.model_copy(update={"encoder": encoder}))
        with opened as engine:
            base = engine.catalogue.get(name, version)
            judged = base
            if base.categories_on(engine.encoder.identity) is None or encoder == new:
                judged = changed_policy(base, encoders=())
            with counting(f"judging on {encoder}", as_json) as progress:
                images = load_labelled(
                    data,
                    engine,
                    [judged],
                    progress=progress,
                    mapping=label_map(mapped),
                    ignored=frozenset(ignored or ()),
                )
            report_failures(images)
            found.append((engine.compiler.compile(judged), images))
    (old_compiled, old_images), (new_compiled, new_images) = found
    both = sorted(set(old_images.paths) & set(new_images.paths))
    old_images = old_images.subset([old_images.paths.index(path) for path in both])
    new_images = new_images.subset([new_images.paths.index(path) for path in both])
    swap = compare_encoders(old_compiled, old_images.block, new_compiled, new_images.block)
    base_text = read_version(settings.policies, base)
    kept = [s.model_dump(mode="json") for s in base.encoders if s.identity != new_images.identity]
    if old_images.identity not in {s.identity for s in base.encoders}:
        # Or else workers with the old encoder could not use the draft.
        kept.append(scales_of(old_compiled.categories, old_images.identity))
    note = (
        f"made from {base.reference} by moderator models compare, from {old} to {new} on {len(both)} images of "
        f"{data.name}: thresholds that keep how many images each category flags; the decision stays the same on "
        f"{swap.same_share:.1%} of the images."
    )
    path = write_draft(settings.policies, swap_text(base_text, swap, new_images.identity, kept), note)
    draft = f"{name}@{path.stem}"
    if as_json:
        print_json(
            {
                "policy": base.reference, "draft": draft, "path": str(path), "old": old, "new": new,
                "images": len(both), "same": swap.same_share,
                "decisions": {
                    before: dict(zip(LEVELS, row, strict=True))
                    for before, row in zip(LEVELS, swap.decisions.tolist(), strict=True)
                },
                "categories": {
                    category: {"old": one.old, "new": one.new, "same": one.same}
                    for category, one in swap.categories.items()
                },
                "changed": [str(both[row]) for row in swap.changed],
            }
        )  # fmt: skip
        return
    _print(swap, old, new)
    for row in swap.changed[:_CHANGED_SHOWN_MAX]:
        console.print(plain(f"other decision: {both[row]}"), soft_wrap=True)
    console.print(plain(f"draft: {path}"), soft_wrap=True)
    print_steps([step("put it into force later", "release", draft, policies=policies)])


def _print(swap: "ModelSwap", old: str, new: str) -> None:
    total = int(swap.decisions.sum())
    console.print(
        plain(f"The decision is the same on {swap.same_share:.1%} of {total:,} images."), soft_wrap=True
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("category", overflow="fold")
    for heading in ("flagged on old", "blocked", "flagged on new", "blocked", "same"):
        table.add_column(heading, justify="right")
    for name, one in swap.categories.items():
        table.add_row(
            plain(name),
            f"{one.old[1] + one.old[2]:,}",
            f"{one.old[2]:,}",
            f"{one.new[1] + one.new[2]:,}",
            f"{one.new[2]:,}",
            f"{one.same / max(1, sum(one.old)):.1%}",
        )
    console.print(table)
    console.print(plain(f"old: {old}; new: {new}"), style="dim", soft_wrap=True)
