"""`moderator probe`: train a linear classifier on embeddings, measure it, use it."""

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from moderator.cli.answers import print_answers
from moderator.cli.options import ImagesArgument, JsonOption, embed_images, loading, progress_bar
from moderator.cli.output import console, plain, print_json
from moderator.errors import LabelsInvalid
from moderator.image_paths import expand_images

if TYPE_CHECKING:
    from moderator.embeddings.embedder import Embedder
    from moderator.encoders.encoder import Embeddings

app = typer.Typer(no_args_is_help=True, help="Train a linear probe on labelled images, measure it, use it.")

DataOption = Annotated[
    Path,
    typer.Option(
        help="CSV with path and label (or category), or a folder with a folder of images per label."
    ),
]
ProbeOption = Annotated[Path, typer.Option("--probe", help="File that `probe train` wrote.")]


@app.command()
def train(
    data: DataOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the probe (.safetensors).")],
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
    policy: Annotated[
        str | None,
        typer.Option(
            help="NAME or NAME@VERSION, measured on the same folds where its categories are labels."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train logistic regression on the embeddings of labelled images.

    The L2 strength is chosen on a validation split. Its quality on other images is measured by cross-validation and
    stored in the file with the model's name. A few dozen images per label are enough.

    Examples:

      moderator probe train --data labels.csv -o smoking.safetensors --policy marketplace

      moderator probe train --data photos/ -o kinds.safetensors
    """
    from dataclasses import replace

    from moderator.embeddings import probe_training
    from moderator.embeddings.embedder import Embedder
    from moderator.embeddings.policy_scores import score_by_policy

    embedder = Embedder()
    embeddings, labels = embed_labelled(embedder, data, json)
    identity = embedder.encoder.identity
    others = score_by_policy(embedder, embeddings, policy) if policy else {}
    with progress_bar(json) as bar:
        task = bar.add_task("cross-validating", total=folds)
        figures, zero_shot = probe_training.cross_validate(
            embeddings, labels, identity, others, folds, progress=lambda done: bar.advance(task, done)
        )
    record: dict[str, Any] = {**vars(figures), "folds": folds, "macro_auc": figures.macro_auc()}
    if policy:
        record |= {"policy": policy, "zero_shot_auc": zero_shot}
    trained = replace(probe_training.train(embeddings, labels, identity), figures=record)
    trained.save(output)
    digest = sha256(output.read_bytes()).hexdigest()
    if json:
        print_json({"output": str(output), "sha256": digest, "c": trained.c, **record})
        return
    table = _figures_table(figures.auc, zero_shot, policy)
    console.print(table)
    line = f"accuracy {figures.accuracy:.3f}, macro ROC-AUC {figures.macro_auc():.4f} ({folds}-fold); {output} written"
    console.print(line, highlight=False, markup=False)
    console.print("For a policy, with the file in its folder, and the labels that are not allowed:")
    entry = f"kind: probe, file: {output.name}, sha256: {digest}, unsafe: [{trained.labels[0]}]"
    console.print(f"  - {{name: {output.stem}, {entry}}}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def evaluate(probe: ProbeOption, data: DataOption, json: JsonOption = False) -> None:
    """Measure a probe on labelled images that it was not trained on.

    Examples:

      moderator probe evaluate --probe smoking.safetensors --data test.csv --json
    """
    from moderator.embeddings.embedder import Embedder
    from moderator.embeddings.probe_training import evaluate as measure
    from moderator.signals.kinds.linear_probe import Probe

    loaded = Probe.load(probe)
    embedder = Embedder()
    loaded.check(embedder.encoder.identity, probe)
    embeddings, labels = embed_labelled(embedder, data, json)
    figures = measure(loaded, embeddings, labels)
    if json:
        print_json({**vars(figures), "macro_auc": figures.macro_auc() if figures.auc else None})
        return
    console.print(_figures_table(figures.auc, {}, None))
    console.print(f"accuracy {figures.accuracy:.3f} on {figures.images} images", highlight=False)


@app.command()
def predict(
    images: ImagesArgument,
    probe: ProbeOption,
    top: Annotated[int, typer.Option(min=1, help="Labels shown for each image.")] = 5,
    json: JsonOption = False,
) -> None:
    """Show the most probable labels of images according to a probe.

    Examples:

      moderator probe predict uploads/ --probe smoking.safetensors --json
    """
    from moderator.embeddings.embedder import Embedder
    from moderator.signals.kinds.linear_probe import Probe

    loaded = Probe.load(probe)
    files = expand_images(images)
    with loading():
        embedder = Embedder()
    loaded.check(embedder.encoder.identity, probe)
    print_answers(embed_images(embedder, files, json), files, loaded, top, json)


def embed_labelled(embedder: "Embedder", data: Path, hidden: bool) -> "tuple[Embeddings, list[str]]":
    """Embed labelled images; report and skip those that cannot be embedded."""
    import numpy as np

    from moderator.embeddings.labelled import read_labelled

    labelled = read_labelled(data)
    found = list(embed_images(embedder, [one.path for one in labelled], hidden))
    pairs = [
        (i.embedding, one.label) for i, one in zip(found, labelled, strict=True) if i.embedding is not None
    ]
    if not pairs:
        raise LabelsInvalid(f"none of the images of {data} could be embedded")
    return np.stack([row for row, _ in pairs]), [label for _, label in pairs]


def _figures_table(auc: dict[str, float], zero_shot: dict[str, float], policy: str | None) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("label")
    table.add_column("ROC-AUC", justify="right")
    if policy:
        table.add_column(f"{policy} (zero-shot)", justify="right")
    for label, value in auc.items():
        other = f"{zero_shot[label]:.4f}" if label in zero_shot else ""
        table.add_row(plain(label), f"{value:.4f}", *([other] if policy else []))
    return table
