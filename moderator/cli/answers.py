"""How the answers of a classifier look: the most probable labels of each image."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.table import Table

from moderator.cli.options import text_name
from moderator.cli.output import console, plain, print_json

if TYPE_CHECKING:
    from moderator.encoders.base import Embeddings
    from moderator.uses.embedder import Embedded


class Classifier(Protocol):
    """What gives each label a probability."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All of them."""
        ...

    def probabilities(self, embeddings: "Embeddings") -> "Embeddings":
        """float32 [n, dimension] -> float32 [n, labels]"""
        ...


def print_answers(items: "Iterable[Embedded]", classifier: Classifier, top: int, json: bool) -> None:
    """Print the best labels of each image as a table or as JSON Lines."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("image", "label"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    table.add_column("probability", justify="right")
    for item in items:
        if item.embedding is None:
            if json:
                error = {"type": type(item.error).__name__, "message": str(item.error)}
                print_json({"image": text_name(item.image), "error": error})
            continue
        probabilities = classifier.probabilities(item.embedding[None])[0]
        best = (-probabilities).argsort(kind="stable")[:top]
        if json:
            answers = [{"label": classifier.labels[n], "probability": float(probabilities[n])} for n in best]
            print_json({"image": text_name(item.image), "labels": answers})
            continue
        for rank, n in enumerate(best):
            image = plain(Path(item.image).name if rank == 0 else "")
            table.add_row(image, plain(classifier.labels[n]), f"{probabilities[n]:.3f}")
    if not json:
        console.print(table)
