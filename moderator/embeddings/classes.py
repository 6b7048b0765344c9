"""Labels and templates in, a zero-shot classifier out."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from moderator.atomic import write_atomically
from moderator.embeddings.embedder import Embedder
from moderator.encoders.encoder import Embeddings
from moderator.errors import LabelsInvalid
from moderator.policies.fields import SLOT, fill

log = logging.getLogger(__name__)

DEFAULT_TEMPLATES = ("a photo of a {}.",)
#: Name of the 80 templates of the CLIP paper.
IMAGENET = "imagenet"
#: Texts embedded between two reports of progress.
_TEXTS_PER_STEP = 1024

Probabilities = NDArray[np.float32]


class Ensemble(StrEnum):
    """How several templates are combined into one answer."""

    EMBEDDINGS = "embeddings"
    """One text embedding per label: the normalised mean of the normalised embeddings."""
    PROBABILITIES = "probabilities"
    """A softmax over the labels for each template, then the mean of the probabilities."""


@dataclass(frozen=True, eq=False)
class Classes:
    """A zero-shot classifier (Radford et al., 2021, sections 3.1.2 and 3.1.4)."""

    labels: tuple[str, ...]
    matrices: Embeddings
    """float32 [T, L, dimension], rows of length 1; T = 1 where the embeddings were averaged."""
    scale: float
    bias: float

    def probabilities(self, embeddings: Embeddings) -> Probabilities:
        """Return the probability of each label: float32 [n, dimension] -> float32 [n, L], rows that sum to 1."""
        total = np.zeros((len(embeddings), len(self.labels)), dtype=np.float32)
        for matrix in self.matrices:
            total += softmax(np.float32(self.scale) * (embeddings @ matrix.T) + np.float32(self.bias))
        return total / np.float32(len(self.matrices))


def softmax(logits: Embeddings) -> Probabilities:
    """Compute the softmax over the last axis, without overflow."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Probabilities = weights / weights.sum(axis=-1, keepdims=True)
    return result


def build_classes(
    embedder: Embedder,
    labels: Sequence[str],
    templates: Sequence[str] = DEFAULT_TEMPLATES,
    ensemble: Ensemble = Ensemble.EMBEDDINGS,
    progress: Callable[[int], None] = lambda labels: None,
) -> Classes:
    """Embed labels in templates. The result is cached on disk by model and texts.

    Args:
        embedder: source of the text tower and the cache folder.
        labels: at least one.
        templates: each with one `{}`.
        ensemble: how the templates are combined.
        progress: called with the number of labels done since the last call.

    Raises:
        LabelsInvalid: no label, or a template without exactly one `{}`.
        EmbeddingInvalid: the text tower returned NaN.
    """
    labels, templates = tuple(labels), tuple(templates)
    if not labels:
        raise LabelsInvalid("there are no labels; give at least one")
    if not templates:
        raise LabelsInvalid("there are no templates; give at least one")
    for template in templates:
        if template.count(SLOT) != 1:
            raise LabelsInvalid(f"a template needs {SLOT} once, where the label belongs: {template!r}")
    encoder = embedder.encoder
    kept = 1 if ensemble is Ensemble.EMBEDDINGS else len(templates)
    shape = (kept, len(labels), encoder.dimension)
    name = sha256(json.dumps([labels, templates, ensemble]).encode()).hexdigest()
    folder = embedder.settings.cache / f"{encoder.identity.key}-{encoder.dtype}"
    path = folder / f"classes-{name}.safetensors"
    matrices = _read(path, shape)
    if matrices is None:
        matrices = np.empty(shape, dtype=np.float32)
        step = max(1, _TEXTS_PER_STEP // len(templates))
        for at in range(0, len(labels), step):
            some = labels[at : at + step]
            texts = [fill(template, label) for template in templates for label in some]
            rows = embedder.embed_texts(texts).reshape(len(templates), len(some), -1)
            if ensemble is Ensemble.EMBEDDINGS:
                rows = rows.mean(axis=0, keepdims=True)
                rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
            matrices[:, at : at + step] = rows
            progress(len(some))
        _write(path, matrices)
    return Classes(labels, matrices, encoder.scale, encoder.bias)


def read_templates(name: str) -> tuple[str, ...]:
    """Read the templates of a text file, one per line, or the 80 of the CLIP paper for `imagenet`.

    Raises:
        LabelsInvalid: the file cannot be read.
    """
    if name == IMAGENET:
        text = (files("moderator") / "data" / "imagenet_templates.txt").read_text("utf-8")
        return tuple(_lines(text.splitlines()))
    return read_texts(Path(name))


def read_texts(path: Path) -> tuple[str, ...]:
    """Read the lines of a text file, without empty ones and those that start with `#`.

    Raises:
        LabelsInvalid: the file cannot be read.
    """
    try:
        return tuple(_lines(path.read_text("utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsInvalid(f"cannot read {path}: {error}; it should be UTF-8, one text a line") from error


def _lines(lines: Iterable[str]) -> Iterable[str]:
    return (line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _read(path: Path, shape: tuple[int, ...]) -> Embeddings | None:
    try:
        matrices = load(path.read_bytes())["matrices"]
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, KeyError) as error:
        log.warning("cached labels %s are broken (%s): embedding them again", path, error)
        return None
    fits = matrices.shape == shape and matrices.dtype == np.float32 and np.isfinite(matrices).all()
    return np.asarray(matrices) if fits else None


def _write(path: Path, matrices: Embeddings) -> None:
    try:
        write_atomically(path, save({"matrices": matrices}))
    except OSError as error:
        log.warning("cannot keep embedded labels at %s: %s", path, error)
