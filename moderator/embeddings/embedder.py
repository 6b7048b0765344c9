"""Images and texts in, embeddings out: the start of every use of the encoder."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from moderator.bounded_map import bounded_map
from moderator.encoders.encoder import Embeddings, Encoder, Pixels
from moderator.encoders.encoder_registry import encoder_of
from moderator.errors import EmbeddingInvalid, ModeratorError
from moderator.fetching.fetcher import TrustedFetcher
from moderator.images.decode import DecodeLimits, decode
from moderator.settings import Settings, load_settings


@dataclass(frozen=True, eq=False)
class EmbeddedImage:
    """The result for one image: its embedding or its error."""

    image: str
    """The path or URL as given."""
    sha256: str = ""
    """Digest of the file, in hex; empty if it could not be read."""
    embedding: Embeddings | None = None
    """float32 [dimension], of length 1."""
    error: ModeratorError | None = None


@dataclass(frozen=True, eq=False)
class _Opened:
    image: str
    sha256: str
    pixels: Pixels | None
    error: ModeratorError | None


class Embedder:
    """One encoder with the service's own fetching and decoding, without policies.

    Of an animation, the first frame is embedded.

    Args:
        settings: default: those of the environment.
        encoder: default: the one that the settings name.

    Raises:
        EncoderUnknown, RuntimeMissing, WeightsInvalid, SettingsError: the encoder cannot be loaded.
    """

    def __init__(self, settings: Settings | None = None, *, encoder: Encoder | None = None) -> None:
        self.settings = settings or load_settings()
        self.encoder = encoder or encoder_of(self.settings)
        self._fetcher = TrustedFetcher(self.settings)
        self._limits = DecodeLimits.from_settings(self.settings.model_copy(update={"max_frames": 1}))
        self._draft = self.encoder.image_size if self.settings.jpeg_draft else None
        self._batch = self.settings.max_batch or self.encoder.best_batch

    def embed_each(self, images: Iterable[str | Path]) -> Iterator[EmbeddedImage]:
        """Embed files or http(s) URLs, in order: decoding runs ahead in threads while the model works.

        Memory does not grow with the number of images. An image that cannot be embedded yields its error.
        """
        batch: list[_Opened] = []
        opened = bounded_map(self.settings.threads or 4, self._open, map(str, images), 4 * self._batch)
        with closing(opened):
            for item in opened:
                if item is None:  # a host is slow: embed the images that have arrived
                    yield from self._embed(batch)
                    batch = []
                    continue
                batch.append(item)
                if len(batch) >= self._batch:
                    yield from self._embed(batch)
                    batch = []
            yield from self._embed(batch)

    def embed_all(self, images: Sequence[str | Path]) -> Embeddings:
        """Embed images -> float32 [n, dimension], rows of length 1.

        Raises:
            ImageError, EmbeddingInvalid: the first image that cannot be embedded; the message names it.
        """
        rows = [np.empty((0, self.encoder.dimension), dtype=np.float32)]
        for item in self.embed_each(images):
            if item.embedding is None:
                assert item.error is not None
                raise type(item.error)(f"{item.image}: {item.error}") from item.error
            rows.append(item.embedding[None])
        return np.concatenate(rows)

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts -> float32 [n, dimension], rows of length 1.

        Raises:
            EmbeddingInvalid: the text tower returned NaN.
        """
        rows = self.encoder.embed_texts(texts)
        if not np.isfinite(rows).all():
            raise EmbeddingInvalid("the text tower returned NaN; try MODERATOR_DTYPE=float32")
        return rows

    def picture(self, image: str | Path) -> Image.Image:
        """Fetch and decode an image: its first frame, upright, in RGB, perhaps at a reduced size.

        Raises:
            ImageError: it cannot be fetched or decoded.
        """
        return self._decode(self._fetcher.fetch(image))

    def _decode(self, data: bytes) -> Image.Image:
        return decode(data, self._limits, self._draft).frames[0]

    def _open(self, image: str) -> _Opened:
        digest = ""
        try:
            data = self._fetcher.fetch(image)
            digest = sha256(data).hexdigest()
            return _Opened(image, digest, self.encoder.preprocess(self._decode(data)), None)
        except ModeratorError as error:
            return _Opened(image, digest, None, error)

    def _embed(self, batch: list[_Opened]) -> Iterator[EmbeddedImage]:
        pixels = [item.pixels for item in batch if item.pixels is not None]
        rows = iter(self.encoder.embed_images(np.stack(pixels))) if pixels else iter(())
        for item in batch:
            if item.pixels is None:
                yield EmbeddedImage(item.image, item.sha256, error=item.error)
                continue
            row: Embeddings = next(rows)
            if np.isfinite(row).all() and row.any():
                yield EmbeddedImage(item.image, item.sha256, row)
            else:
                message = "the model returned NaN, infinity or zero; try MODERATOR_DTYPE=float32"
                yield EmbeddedImage(item.image, item.sha256, error=EmbeddingInvalid(message))
