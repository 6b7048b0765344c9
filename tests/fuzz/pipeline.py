"""What a file goes through: fetched, decoded, embedded, judged, and the verdict written as JSON."""

import base64
from hashlib import sha256

import numpy as np

from moderator.encoders.base import Embeddings, Encoder
from moderator.encoders.registry import load_encoder
from moderator.events import Event, ImageReference
from moderator.images.decode import DecodeLimits, decode
from moderator.moderator import Moderator, Prepared
from moderator.settings import Settings
from moderator.stopwatch import Stopwatch

#: Embeddings that are kept: most mutations leave the pixels as they were, and equal pixels are embedded once.
_KEPT = 20_000


class Pipeline:
    """The worker's steps in this process, so that what breaks in a decoder breaks here."""

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        self._moderator = Moderator(settings, encoder=encoder)
        self._encoder = encoder
        self._limits = DecodeLimits.from_settings(settings)
        self._embeddings: dict[bytes, Embeddings] = {}

    def __call__(self, data: bytes) -> str:
        """Judge a file and return the decision.

        Raises:
            ModeratorError: it cannot be judged.
        """
        reference = ImageReference(inline=base64.b64encode(data).decode())
        image = decode(self._moderator.fetcher.fetch(reference), self._limits, self._encoder.image_size)
        assert all(frame.mode == "RGB" for frame in image.frames)
        pixels = np.stack([self._encoder.preprocess(frame) for frame in image.frames])
        key = sha256(pixels).digest()
        if key not in self._embeddings:
            if len(self._embeddings) >= _KEPT:
                self._embeddings.clear()
            self._embeddings[key] = self._moderator.embed(pixels)
        event = Event(id="fuzz", image=reference)
        verdict = self._moderator.judge(
            event, Prepared(image.facts, pixels), self._embeddings[key], Stopwatch()
        )
        assert verdict.model_dump_json()
        return str(verdict.decision)


def load_pipeline(encoder: str, max_pixels: int, decode_timeout: float) -> Pipeline:
    """The pipeline with an encoder by its name, on one thread of the CPU."""
    import torch

    torch.set_num_threads(1)
    settings = Settings(
        max_pixels=max_pixels, max_bytes=1_000_000, decode_timeout=decode_timeout, device="cpu"
    )
    return Pipeline(settings, load_encoder(encoder, "cpu", "auto"))
