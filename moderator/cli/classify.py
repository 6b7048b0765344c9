"""`moderator classify`: find the label that fits an image best, without training."""

from pathlib import Path
from typing import Annotated

import typer

from moderator.cli.answers import print_answers
from moderator.cli.options import ImagesArgument, JsonOption, embed_images, loading, progress_bar
from moderator.errors import LabelsInvalid
from moderator.image_paths import expand_images


def classify(
    images: ImagesArgument,
    labels: Annotated[str | None, typer.Option(help="Labels, separated by commas.")] = None,
    labels_file: Annotated[Path | None, typer.Option(help="Text file, one label a line.")] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            help="Text with {} where the label belongs; may be given several times. "
            'Default: "a photo of a {}.".',
            show_default=False,
        ),
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option(help="Text file, one template a line, or `imagenet`: the 80 of the CLIP paper."),
    ] = None,
    ensemble: Annotated[
        str, typer.Option(help="Average over templates: `embeddings` (CLIP paper) or `probabilities`.")
    ] = "embeddings",
    top: Annotated[int, typer.Option(min=1, help="Labels shown for each image.")] = 5,
    json: JsonOption = False,
) -> None:
    """Zero-shot classification: the most probable of some labels for each image, best first.

    Ends with 0 if every image got an answer; an answer may be an error.

    Examples:

      moderator classify cat.jpg --labels "cat,dog,bird"

      moderator classify photos/ --labels-file labels.txt --templates imagenet --top 3 --json

      moderator classify x.png --labels "cat,dog" --template "a drawing of a {}" --template "a photo of a {}"
    """
    from moderator.embeddings import classes  # the model libraries take seconds to load: not for --help
    from moderator.embeddings.embedder import Embedder

    if (labels is None) == (labels_file is None):
        raise LabelsInvalid("give labels with --labels or with --labels-file")
    if labels_file is not None:
        names = classes.read_texts(labels_file)
    else:
        names = tuple(label.strip() for label in str(labels).split(",") if label.strip())
    if twice := sorted({label for label in names if names.count(label) > 1}):
        raise LabelsInvalid(f"label {twice[0]!r} is there twice; remove one")
    if ensemble not in list(classes.Ensemble):
        raise typer.BadParameter(f"{ensemble!r} is neither `embeddings` nor `probabilities`")
    chosen = (*(template or ()), *(classes.read_templates(templates) if templates else ()))
    files = expand_images(images)
    with loading():
        embedder = Embedder()
    with progress_bar(json) as bar:
        task = bar.add_task("labels", total=len(names))
        classifier = classes.build_classes(
            embedder,
            names,
            chosen or classes.DEFAULT_TEMPLATES,
            classes.Ensemble(ensemble),
            lambda count: bar.advance(task, count),
        )
    print_answers(embed_images(embedder, files, json), files, classifier, top, json)
