"""What the service needs from a model: two towers, a similarity scale, and a name that can be replayed."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moderator.identity import Identity
from moderator.images.resize import Pixels, Resize

__all__ = ["Embeddings", "Encoder", "Identity", "Pixels"]

Embeddings = NDArray[np.float32]


class Encoder(Protocol):
    """An image tower and a text tower that share an embedding space.

    `embed_images` is called from several threads at once. `embed_texts` is called from one thread at a time,
    concurrently with them: a worker takes up new policies while it works.
    """

    identity: Identity
    dimension: int
    #: Length of the square that `preprocess` returns, in pixels. Decoding may subsample down to twice this.
    image_size: int
    #: Resizes and crops an RGB image to the model's input: uint8 [image_size, image_size, 3].
    preprocess: Resize
    #: logit = scale * cosine + bias
    scale: float
    bias: float
    #: Where and in which precision the towers run, e.g. "cpu" and "bfloat16".
    device: str
    dtype: str
    #: Batch size at which a forward pass is fastest, or nearly so.
    best_batch: int

    def embed_images(self, pixels: Pixels) -> Embeddings:
        """Embed a batch, uint8 [n, image_size, image_size, 3] -> float32 [n, dimension], rows of length 1."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts -> float32 [n, dimension], rows of length 1.

        Raises:
            WeightsInvalid: the text tower was unloaded and cannot be loaded again.
        """
        ...

    def truncated(self, texts: Sequence[str]) -> list[str]:
        """Return the texts that are longer than the text tower reads. `embed_texts` logs a warning for each."""
        ...

    def unload_texts(self) -> None:
        """Free the text tower's memory; `embed_texts` loads it again. Called from the same thread as `embed_texts`."""
        ...
