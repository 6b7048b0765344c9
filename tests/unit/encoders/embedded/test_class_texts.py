import json

import numpy as np
import pytest
import torch

from moderator.encoders.embedded.class_texts import TEXTS, embed_class_texts, load_class_vectors
from moderator.encoders.embedded.minilm import MiniLM


def test_there_are_texts_for_each_class() -> None:
    texts = json.loads(TEXTS.read_text(encoding="utf-8"))
    assert len(texts) == 1000
    for several in texts:
        assert len(several) >= 1
        assert len(set(several)) == len(several)
        assert all(text.strip() == text and text for text in several)
    assert "tabby" in texts[281][0]
    assert "revolver" in texts[763][0]
    assert "toilet paper" in texts[999][0]


@pytest.mark.slow
def test_kept_vectors_are_those_of_the_texts() -> None:
    vectors, digest = load_class_vectors()
    fresh = embed_class_texts(MiniLM(torch.device("cpu"))).astype(np.float32)
    assert vectors.shape == (1000, 384)
    assert vectors.dtype == np.float32
    assert len(digest) == 64
    np.testing.assert_allclose(
        vectors, fresh, atol=1e-3, err_msg="run: python -m moderator.encoders.embedded.class_texts"
    )
