"""Print the answers of a classifier: the most probable labels of each image."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.table import Column

from moderator.cli.options import text_name
from moderator.cli.output import Rows, console, plain, print_json, widest

if TYPE_CHECKING:
    from moderator.embeddings.embedder import EmbeddedImage
    from moderator.encoders.encoder import Embeddings


class Classifier(Protocol):
    """A classifier that gives each label a probability."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the probabilities."""
        ...

    def probabilities(self, embeddings: "Embeddings") -> "Embeddings":
        """Return the probability of each label for each image.

        Args:
            embeddings: float32 [n, dimension].

        Returns:
            float32 [n, labels].
        """
        ...


def print_answers(
    items: "Iterable[EmbeddedImage]", names: Sequence[str], classifier: Classifier, top: int, json: bool
) -> None:
    """Print the best labels of each image as a table or as JSON Lines, each as soon as it is known.

    Args:
        items: the results for the images.
        names: the images, in the same order; the table fits the longest name.
        classifier: source of the labels and their probabilities.
        top: labels shown for each image.
        json: print JSON Lines instead of a table.
    """
    rows = None if json else Rows(*_columns(names, classifier.labels))
    for item in items:
        if item.embedding is None:
            if json:
                error = {"type": type(item.error).__name__, "message": str(item.error)}
                print_json({"image": text_name(item.image), "error": error})
            continue
        probabilities = classifier.probabilities(item.embedding[None])[0]
        best = (-probabilities).argsort(kind="stable")[:top]
        if rows is None:
            answers = [{"label": classifier.labels[n], "probability": float(probabilities[n])} for n in best]
            print_json({"image": text_name(item.image), "labels": answers})
            continue
        for rank, n in enumerate(best):
            image = plain(Path(item.image).name if rank == 0 else "")
            rows.add(image, plain(classifier.labels[n]), f"{probabilities[n]:.3f}")


def _columns(names: Sequence[str], labels: Sequence[str]) -> tuple[Column, ...]:
    """Return columns that fit all rows and the terminal; the image's name is cut first."""
    room = console.width - len("probability") - 3
    label = min(widest("label", *labels), room * 2 // 3)
    image = min(widest("image", *(Path(name).name for name in names)), room - label)
    return (
        Column("image", overflow="ellipsis", no_wrap=True, width=image),
        Column("label", overflow="fold", width=label),
        Column("probability", justify="right", width=len("probability")),
    )
