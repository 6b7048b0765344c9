"""Check a loaded encoder: that it embeds, how fast, in how much memory, and which prompts it truncates."""

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from moderator.encoders.encoder import Embeddings, Encoder
from moderator.errors import EmbeddingInvalid

#: Least number of seconds for which each speed is measured.
TIMING_MIN_SECONDS = 1.5


@dataclass(frozen=True)
class Checkup:
    """The results of a check."""

    batch: int
    images_per_second_1: float
    """Preprocessed images in batches of one."""
    images_per_second_batch: float
    """Preprocessed images in batches of `batch`."""
    memory_mb: int
    """Peak memory so far, in millions of bytes: of the device if it is a GPU, else of the process."""
    similarities: dict[str, float]
    """Cosine of the picture with each of the texts."""
    truncated: tuple[str, ...]
    """Prompts that the text tower does not read to the end."""


def check_up(
    encoder: Encoder, batch: int, picture: Image.Image, texts: Sequence[str], prompts: Sequence[str]
) -> Checkup:
    """Run the encoder and measure it.

    Args:
        encoder: the encoder to check.
        batch: size of the larger batch.
        picture: mode RGB.
        texts: compared with the picture.
        prompts: checked for their length only.

    Raises:
        EmbeddingInvalid: an embedding is not finite, or not of length 1.
    """
    pixels = encoder.preprocess(picture)[np.newaxis]
    image, rows = encoder.embed_images(pixels), encoder.embed_texts(texts)
    for embeddings in (image, rows):
        _check(embeddings, encoder.dimension)
    return Checkup(
        batch=batch,
        images_per_second_1=round(_speed(encoder, pixels, 1), 2),
        images_per_second_batch=round(_speed(encoder, pixels, batch), 2),
        memory_mb=_memory(encoder.device),
        similarities=dict(zip(texts, (round(float(x), 4) for x in (image @ rows.T)[0]), strict=True)),
        truncated=tuple(encoder.truncated(prompts)),
    )


def _check(embeddings: Embeddings, dimension: int) -> None:
    lengths = np.linalg.norm(embeddings, axis=1)
    if embeddings.shape[1] != dimension or not np.allclose(lengths, 1, atol=1e-3):
        raise EmbeddingInvalid(
            f"the model returned embeddings of shape {embeddings.shape} and lengths {lengths}; try "
            "MODERATOR_DTYPE=float32"
        )


def _speed(encoder: Encoder, pixels: np.ndarray, batch: int) -> float:
    """Measure images per second, without the first run."""
    several = np.repeat(pixels, batch, axis=0)
    encoder.embed_images(several)
    start, runs = time.perf_counter(), 0
    while (seconds := time.perf_counter() - start) < TIMING_MIN_SECONDS or runs < 2:
        encoder.embed_images(several)
        runs += 1
    return runs * batch / seconds


def _memory(device: str) -> int:
    if device.startswith("cuda"):
        return round(torch.cuda.max_memory_allocated(device) / 1e6)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6)
