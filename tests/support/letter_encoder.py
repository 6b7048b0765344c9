"""An encoder of texts by their letters: those that share words are near to each other. It sees no images."""

from collections.abc import Sequence

import numpy as np

from moderator.encoders.encoder import Embeddings, Identity, Pixels
from moderator.images.resize import Resize

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


class LetterEncoder:
    """Texts by how often each letter is in them."""

    identity = Identity(id="letters", revision="1", preprocessing="none")
    dimension = len(ALPHABET)
    image_size = 8
    preprocess = Resize(8, 8, squash=True)
    scale = 10.0
    bias = 0.0
    device = "cpu"
    dtype = "float32"
    best_batch = 8

    def embed_images(self, pixels: Pixels) -> Embeddings:
        return np.ones((len(pixels), self.dimension), dtype=np.float32) / np.sqrt(self.dimension)

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        rows = np.array([[text.count(letter) for letter in ALPHABET] for text in texts], dtype=np.float32)
        rows = rows.reshape(len(texts), self.dimension) - np.float32(0.3)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def truncated(self, texts: Sequence[str]) -> list[str]:
        return [text for text in texts if len(text) > 60]

    def unload_texts(self) -> None:
        """Has nothing to unload."""
