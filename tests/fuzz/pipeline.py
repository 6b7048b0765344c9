"""What a file goes through: fetched, decoded, embedded, judged, and the verdict written as JSON."""

import base64
from hashlib import sha256

from moderator.encoders.base import Embeddings, Encoder, Pixels
from moderator.encoders.registry import load_encoder
from moderator.events import Event, ImageReference
from moderator.moderator import Moderator
from moderator.settings import Settings
from moderator.stopwatch import Stopwatch

#: Embeddings that are kept, the last ones used: many mutations leave the pixels as they were. Few, because each is a
#: small block between the model's large ones, and many of them would keep the memory around them from being used again.
_KEPT = 200


class Pipeline:
    """The worker's steps in this process, so that what breaks in a decoder breaks here."""

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        self._moderator = Moderator(settings, encoder=encoder)
        self._kept: dict[bytes, Embeddings] = {}

    def __call__(self, data: bytes) -> str:
        """Judge a file and return the decision.

        Raises:
            ModeratorError: it cannot be judged.
        """
        reference = ImageReference(inline=base64.b64encode(data).decode())
        event = Event(id="fuzz", image=reference)
        prepared = self._moderator.prepare(self._moderator.fetcher.fetch(reference), event)
        embeddings = self._embed(prepared.pixels)
        verdict = self._moderator.judge(event, prepared, embeddings, Stopwatch())
        assert verdict.model_dump_json()
        return str(verdict.decision)

    def _embed(self, pixels: Pixels) -> Embeddings:
        key = sha256(pixels).digest()
        embeddings = self._kept.pop(key, None)
        if embeddings is None:
            embeddings = self._moderator.embed(pixels)
        self._kept[key] = embeddings
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return embeddings


def load_pipeline(encoder: str, max_pixels: int, decode_timeout: float) -> Pipeline:
    """The pipeline with an encoder by its name, on one thread of the CPU."""
    import torch

    torch.set_num_threads(1)
    settings = Settings(
        max_pixels=max_pixels, max_bytes=1_000_000, decode_timeout=decode_timeout, device="cpu"
    )
    return Pipeline(settings, load_encoder(encoder, "cpu", "auto"))
