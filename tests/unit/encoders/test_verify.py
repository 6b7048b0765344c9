from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from moderator.encoders import verify
from moderator.encoders.encoder import Embeddings, Pixels
from moderator.encoders.verify import check_up
from moderator.errors import EmbeddingInvalid
from tests.support.colour_encoder import ColourEncoder

RED = Image.new("RGB", (20, 10), "red")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "TIMING_MIN_SECONDS", 0.01)


def test_what_is_found() -> None:
    encoder = ColourEncoder()
    found = check_up(encoder, 4, RED, ["red", "blue"], ["red", "r" * 101])
    assert found.similarities["red"] > found.similarities["blue"]
    assert found.truncated == ("r" * 101,)
    assert found.images_per_second_1 > 0
    assert found.images_per_second_batch > 0
    assert set(encoder.batches) == {1, 4}
    assert 20 < found.memory_mb < 100_000


class NotANumber(ColourEncoder):
    def embed_images(self, pixels: Pixels) -> Embeddings:
        return super().embed_images(pixels) * np.float32(np.nan)


class TooLong(ColourEncoder):
    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        return super().embed_texts(texts) * 2


@pytest.mark.parametrize("broken", [NotANumber(), TooLong()])
def test_what_is_no_embedding(broken: ColourEncoder) -> None:
    with pytest.raises(EmbeddingInvalid, match="MODERATOR_DTYPE=float32"):
        check_up(broken, 2, RED, ["red"], [])
