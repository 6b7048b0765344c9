"""Texts for the 1,000 classes of ImageNet-1k, in the order of the classifier's outputs.

`imagenet_texts.json` holds several texts for each class: its name, what it looks like or how it is met in a
photograph, and the kind of thing that it is. `imagenet_texts.npy` holds their embeddings, so that a start
need not embed 1,700 texts. After editing the texts:

    python -m moderator.encoders.embedded.class_texts
"""

import json
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


def embed_class_texts(tower: MiniLM) -> NDArray[np.float16]:
    """One vector of length 1 for each class, the normalised mean over its texts: float16 [1000, 384]."""
    texts: list[list[str]] = json.loads(TEXTS.read_text(encoding="utf-8"))
    distinct = sorted({text for several in texts for text in several})
    rows = dict(zip(distinct, tower.embed(distinct).cpu().numpy(), strict=True))
    means = np.stack([np.mean([rows[text] for text in several], axis=0) for several in texts])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return means.astype(np.float16)


def load_class_vectors() -> tuple[NDArray[np.float32], str]:
    """The kept vectors, float32 [1000, 384], and the SHA-256 of their file."""
    digest = sha256(VECTORS.read_bytes()).hexdigest()
    return np.load(VECTORS, allow_pickle=False).astype(np.float32), digest


if __name__ == "__main__":
    np.save(VECTORS, embed_class_texts(MiniLM(torch.device("cpu"))), allow_pickle=False)
