"""What a file goes through: fetched, decoded, embedded, judged, and the verdict written as JSON."""

import base64
from hashlib import sha256

from moderator.encoders.encoder import Embeddings, Encoder, Pixels
from moderator.encoders.encoder_registry import load_encoder
from moderator.engine.engine import Engine
from moderator.engine.stopwatch import Stopwatch
from moderator.events import Event, ImageReference
from moderator.fetching.fetcher import Fetcher
from moderator.settings import Settings

#: Embeddings that are kept, the last ones used: many mutations leave the pixels as they were. Few, because each is a
#: small block between the model's large ones, and many of them would keep the memory around them from being used again.
_KEPT = 200


class Pipeline:
    """The worker's parts in this process, so that what breaks in a decoder breaks here."""

    def __init__(self, settings: Settings, encoder: Encoder) -> None:
        self._engine = Engine(settings, encoder=encoder)
        self._fetcher = Fetcher.from_settings(settings)
        self._kept: dict[bytes, Embeddings] = {}

    def __call__(self, data: bytes) -> str:
        """Judge a file and return the decision.

        Raises:
            ModeratorError: it cannot be judged.
        """
        reference = ImageReference(inline=base64.b64encode(data).decode())
        event = Event(id="fuzz", image=reference)
        engine, watch = self._engine, Stopwatch()
        prepared = engine.preparer.prepare(self._fetcher.fetch(reference), engine.resolver.select_for(event))
        judged = engine.judge(event, prepared, self._embed(prepared.pixels), watch)
        verdict = engine.verdict(event, prepared, judged, watch)
        assert verdict.model_dump_json()
        return str(verdict.decision)

    def _embed(self, pixels: Pixels) -> Embeddings:
        key = sha256(pixels).digest()
        embeddings = self._kept.pop(key, None)
        if embeddings is None:
            embeddings = self._engine.embed(pixels)
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
