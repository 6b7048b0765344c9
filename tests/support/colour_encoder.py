"""A tiny encoder that really works, for tests of what stands around an encoder."""

import io
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from moderator.encoders.encoder import Embeddings, Identity, Pixels
from moderator.images.resize import Resize
from tests.support.policies import release

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}
POLICY = """\
name: colours
version: {version}
safe: [green, blue, white]
categories:
  red: {{unsafe: [red], block: {block}}}
"""


class ColourEncoder:
    """Images by their mean colour, texts by the names of colours in them. Counts what it is asked."""

    dimension = 4
    image_size = 8
    preprocess = Resize(8, 8, squash=True)
    scale = 20.0
    bias = 0.0
    device = "cpu"
    best_batch = 8

    def __init__(self, revision: str = "1", dtype: str = "float32") -> None:
        self.identity = Identity(id="colours", revision=revision, preprocessing="resize 8")
        self.dtype = dtype
        self.texts: list[str] = []
        self.batches: list[int] = []

    def embed_images(self, pixels: Pixels) -> Embeddings:
        self.batches.append(len(pixels))
        means = pixels.reshape(len(pixels), -1, 3).mean(axis=1) / 255
        return unit(np.concatenate([means, np.full((len(pixels), 1), 0.1)], axis=1))

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        self.texts += texts
        return unit(np.array([self._vector(text) for text in texts]).reshape(len(texts), self.dimension))

    def unload_texts(self) -> None:
        self.texts.append("unloaded")

    def truncated(self, texts: Sequence[str]) -> list[str]:
        return [text for text in texts if len(text) > 100]

    def _vector(self, text: str) -> list[float]:
        rgb = np.sum([colour for name, colour in COLOURS.items() if name in text] or [(0, 0, 0)], axis=0)
        # So that any two texts differ.
        return [*rgb.tolist(), 0.1 + sha256(text.encode()).digest()[0] / 2560]


def unit(rows: np.ndarray) -> Embeddings:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_policies(folder: Path) -> Path:
    """The policy `colours` blocks red: version 1 is active, 2 is its shadow and blocks nothing, 3 stands by."""
    (folder / "colours").mkdir(parents=True)
    for version, block in ((1, 0.5), (2, 0.999999), (3, 0.6)):
        (folder / "colours" / f"{version}.yaml").write_text(POLICY.format(version=version, block=block))
        release(folder, "colours", version)
    (folder / "active.yaml").write_text("colours: {active: 1, shadow: [2]}\n")
    return folder


def picture(colour: str, format: str = "PNG", size: tuple[int, int] = (20, 10)) -> bytes:
    """The file of an image of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, format)
    return file.getvalue()
