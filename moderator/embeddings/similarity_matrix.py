"""How much each image resembles each text."""

from dataclasses import dataclass

import numpy as np

from moderator.embeddings.classes import Probabilities, softmax
from moderator.encoders.encoder import Embeddings


@dataclass(frozen=True, eq=False)
class Similarity:
    """A matrix of images by texts."""

    cosine: Embeddings
    """float32 [n, m]"""
    logits: Embeddings
    """float32 [n, m], scale * cosine + bias"""
    probabilities: Probabilities
    """float32 [n, m], softmax of the logits over the texts"""


def compare(images: Embeddings, texts: Embeddings, scale: float, bias: float) -> Similarity:
    """Compare embeddings of images with embeddings of texts.

    Args:
        images: float32 [n, dimension], rows of length 1.
        texts: float32 [m, dimension], rows of length 1; at least one.
        scale: the encoder's factor from cosine to logit.
        bias: the encoder's bias, added to each logit.
    """
    cosine = images @ texts.T
    logits = np.float32(scale) * cosine + np.float32(bias)
    return Similarity(cosine, logits, softmax(logits))
