"""`moderator bench`: measure the encoder on labelled images by the protocols of the CLIP paper."""

from pathlib import Path
from typing import Annotated

import typer

from moderator.cli.options import JsonOption, progress_bar
from moderator.cli.output import console, print_json
from moderator.cli.probe import DataOption, embed_labelled

app = typer.Typer(no_args_is_help=True, help="Measure the encoder on labelled images.")


@app.command("zero-shot")
def zero_shot(
    data: DataOption,
    classes: Annotated[
        Path, typer.Option(help="Text file: a line LABEL<tab>TEXT for each class, or one text that is both.")
    ],
    templates: Annotated[
        str, typer.Option(help="Text file, one template a line, or `imagenet`: the 80 of the CLIP paper.")
    ] = "imagenet",
    json: JsonOption = False,
) -> None:
    """Measure zero-shot classification accuracy by the CLIP paper's protocol for ImageNet.

    Each class's text is put into all templates, and the embeddings are averaged. An image's class is named by its
    folder or by its line in the CSV.

    Examples:

      moderator bench zero-shot --data imagenet/val --classes classes.txt

      moderator bench zero-shot --data labels.csv --classes classes.txt --json
    """
    from moderator.embeddings.classes import build_classes, read_templates
    from moderator.embeddings.embedder import Embedder
    from moderator.embeddings.labelled import read_class_texts, read_labelled
    from moderator.embeddings.zero_shot import measure

    texts = read_class_texts(classes)
    labelled = read_labelled(data)
    embedder = Embedder()
    with progress_bar(json) as bar:
        task = bar.add_task("classes", total=len(texts))
        built = build_classes(
            embedder, list(texts.values()), read_templates(templates), progress=lambda n: bar.advance(task, n)
        )
        images = bar.track(
            embedder.embed_each([one.path for one in labelled]), len(labelled), description="images"
        )
        found = measure(built, list(texts), labelled, images)
    if json:
        print_json({"encoder": embedder.encoder.identity.id, "classes": len(texts), **vars(found)})
        return
    line = (
        f"{embedder.encoder.identity.id}: top-1 {found.top1:.4f}, top-5 {found.top5:.4f}, mean per class "
        f"{found.mean_per_class:.4f}; {found.images} images, {len(texts)} classes, {found.failed} failed"
    )
    console.print(line, highlight=False, markup=False)


@app.command("linear-probe")
def linear_probe(
    train: Annotated[Path, typer.Option(help="Labelled images to train on; see --data of `probe train`.")],
    test: Annotated[Path, typer.Option(help="Labelled images to measure on.")],
    json: JsonOption = False,
) -> None:
    """Measure logistic regression on frozen embeddings: the linear probe of the CLIP paper.

    The L2 strength is chosen on a split of the training images among 96 values from 1e-6 to 1e6, by a search from
    coarse to fine.

    Examples:

      moderator bench linear-probe --train cifar/train --test cifar/test --json
    """
    from moderator.embeddings.embedder import Embedder
    from moderator.embeddings.probe_training import evaluate
    from moderator.embeddings.probe_training import train as fit

    embedder = Embedder()
    probe = fit(*embed_labelled(embedder, train, json), embedder.encoder.identity)
    figures = evaluate(probe, *embed_labelled(embedder, test, json))
    if json:
        print_json({"encoder": embedder.encoder.identity.id, "c": probe.c, **vars(figures)})
        return
    name = embedder.encoder.identity.id
    line = f"{name}: accuracy {figures.accuracy:.4f} on {figures.images} images, C {probe.c:.3g}"
    console.print(line, highlight=False, markup=False)
