"""Texts for the 1,000 classes of ImageNet-1k, in the order of the classifier's outputs.

`imagenet_texts.json` holds several texts for each class: its name, what it looks like or how it is met in a
photograph, and the kind of thing that it is. `imagenet_texts.npy` holds the embedding of each distinct text, so
that a start need not embed 1,700 texts. After editing the texts:

    python -m moderator.encoders.embedded.class_texts
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from moderator.encoders.embedded.minilm import MiniLM

_FOLDER = Path(str(files("moderator.encoders.embedded")))
TEXTS = _FOLDER / "imagenet_texts.json"
VECTORS = _FOLDER / "imagenet_texts.npy"


@dataclass(frozen=True, eq=False)
class ClassTexts:
    """The texts of k classes, embedded."""

    vectors: NDArray[np.float32]
    """[m, d] one row of length 1 for each distinct text."""
    members: NDArray[np.int64]
    """[n] rows of `vectors`, the texts of the first class first."""
    starts: NDArray[np.int64]
    """[k] start of each class in `members`."""
    digest: str
    """SHA-256 of the two files."""


def _read_texts() -> tuple[list[list[str]], list[str]]:
    """Return the texts of each class, and the distinct ones in order."""
    texts: list[list[str]] = json.loads(TEXTS.read_text(encoding="utf-8"))
    return texts, sorted({text for several in texts for text in several})


def embed_class_texts(tower: MiniLM) -> NDArray[np.float16]:
    """Embed each distinct text: float16 [m, 384], rows of length 1."""
    return tower.embed(_read_texts()[1]).cpu().numpy().astype(np.float16)


def load_class_texts() -> ClassTexts:
    """Load the texts' kept vectors, and which of them belong to which class."""
    texts, distinct = _read_texts()
    row_of = {text: row for row, text in enumerate(distinct)}
    counts = [len(several) for several in texts]
    return ClassTexts(
        vectors=np.load(VECTORS, allow_pickle=False).astype(np.float32),
        members=np.array([row_of[text] for several in texts for text in several], dtype=np.int64),
        starts=np.cumsum([0, *counts[:-1]], dtype=np.int64),
        digest=sha256(TEXTS.read_bytes() + VECTORS.read_bytes()).hexdigest(),
    )


if __name__ == "__main__":
    np.save(VECTORS, embed_class_texts(MiniLM(torch.device("cpu"))), allow_pickle=False)
