import json

import numpy as np
import pytest
import torch

from moderator.encoders.embedded.class_texts import TEXTS, embed_class_texts, load_class_texts
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


def test_each_class_finds_its_texts() -> None:
    texts = json.loads(TEXTS.read_text(encoding="utf-8"))
    distinct = sorted({text for several in texts for text in several})
    kept = load_class_texts()
    assert len(kept.vectors) == len(distinct)
    ends = [*kept.starts[1:], len(kept.members)]
    found = [
        [distinct[row] for row in kept.members[start:end]]
        for start, end in zip(kept.starts, ends, strict=True)
    ]
    assert found == texts


@pytest.mark.slow
def test_kept_vectors_are_those_of_the_texts() -> None:
    kept = load_class_texts()
    fresh = embed_class_texts(MiniLM(torch.device("cpu"))).astype(np.float32)
    assert kept.vectors.shape[1] == 384
    assert kept.vectors.dtype == np.float32
    assert len(kept.digest) == 64
    np.testing.assert_allclose(
        kept.vectors, fresh, atol=1e-3, err_msg="run: python -m moderator.encoders.embedded.class_texts"
    )
