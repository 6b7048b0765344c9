"""CLIP ViT-L/14 at 336 pixels: widths, heads, patches and positions as published, 2 layers instead of 24 and 12."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig

from moderator.encoders.families.clip import ClipEncoder
from tests.support import clip_models
from tests.support.clip_reference import Reference, photographs, synthetic

pytestmark = pytest.mark.slow
TEXTS = ["a gun", "a photo of a plate of food", "Ünïcode 猫", "", "x " * 200]
L14_336 = CLIPConfig(
    text_config={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 2, "num_attention_heads": 12},
    vision_config={
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 2, "num_attention_heads": 16,
        "image_size": 336, "patch_size": 14,
    },
    projection_dim=768,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = clip_models.save_clip(tmp_path_factory.mktemp("clip") / "vit-l-14-336", L14_336)
    yield path
    shutil.rmtree(path)


def test_parity(folder: Path) -> None:
    encoder, reference = ClipEncoder(str(folder), device="cpu", dtype="float32"), Reference(folder)
    images = [sample.seen for sample in (*photographs(), *synthetic())][::8]
    pictures = encoder.embed_images(np.stack([encoder.preprocess(image) for image in images]))
    texts = encoder.embed_texts(TEXTS)
    assert (encoder.image_size, encoder.dimension) == (336, 768)
    assert np.abs(pictures - reference.image_embeddings(images)).max() <= 1e-5
    assert np.abs(texts - reference.text_embeddings(TEXTS)).max() <= 1e-5
    logits = torch.from_numpy(encoder.scale * pictures @ texts.T)
    found = logits.softmax(dim=1).numpy()
    assert np.abs(found - reference.probabilities(images, TEXTS)).max() <= 1e-5
    assert encoder.truncated(TEXTS) == TEXTS[-1:]
    assert (pictures @ pictures.T).min() < 0.9
