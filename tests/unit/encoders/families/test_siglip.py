import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import Siglip2Tokenizer, SiglipConfig
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from moderator.encoders.families import siglip
from moderator.encoders.families.siglip import SiglipEncoder
from moderator.errors import EncoderUnknown, WeightsInvalid
from moderator.scoring.rules import sigmoid
from tests.support import dual_encoders
from tests.support.clip_reference import photographs, synthetic
from tests.support.dual_encoders import SIGLIP_BIAS, SIGLIP_SCALE, Reference

TEXTS = ["a gun", "a photo of a plate of food", "A Photo, of a GUN!", "Ünïcode 猫", "", "a cat   a dog "]
#: The widths of So400m/14 at 384 pixels, with 2 of its 27 layers and without most of its vocabulary.
SO400M = SiglipConfig(
    text_config={
        "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 2, "num_attention_heads": 16,
        "vocab_size": 1000, "projection_size": 1152,
    },
    vision_config={
        "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 2, "num_attention_heads": 16,
        "image_size": 384, "patch_size": 14,
    },
)  # fmt: skip
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [sample.seen for sample in (*photographs(), *synthetic())][::12]


@pytest.fixture(
    scope="module", params=["small", "small 2", *(pytest.param(n, marks=SLOW) for n in ("b16", "so400m"))]
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Small models of both generations; SigLIP B/16 at 224 pixels in full; SigLIP 2 So400m at reduced depth."""
    config = {"b16": SiglipConfig(), "so400m": SO400M}.get(request.param)
    second = request.param in ("small 2", "so400m")
    path = dual_encoders.save_siglip(tmp_path_factory.mktemp("siglip") / "model", config, second=second)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    """SigLIP's own processor; for SigLIP 2 the tokenizer that lower-cases as in training."""
    length = json.loads((folder / "config.json").read_text())["text_config"]["max_position_embeddings"]
    second = not (folder / "spiece.model").exists()
    options = {"model_max_length": length, "model_input_names": ["input_ids"]}
    tokenizer = dual_encoders.gemma_tokenizer(Siglip2Tokenizer, **options) if second else None
    return Reference(folder, SiglipImageProcessorPil, tokenizer, padding="max_length")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> SiglipEncoder:
    return SiglipEncoder(str(folder), device="cpu", dtype="float32")


def test_parity(encoder: SiglipEncoder, reference: Reference, images: list[Image.Image]) -> None:
    expected = reference(images, TEXTS)
    pictures = encoder.embed_images(np.stack([encoder.preprocess(image) for image in images]))
    texts = encoder.embed_texts(TEXTS)
    assert np.abs(pictures - expected.image_embeds.numpy()).max() <= 1e-5
    assert np.abs(texts - expected.text_embeds.numpy()).max() <= 1e-5
    probabilities = sigmoid(np.float32(encoder.scale) * pictures @ texts.T + np.float32(encoder.bias))
    assert np.abs(probabilities - expected.logits_per_image.sigmoid().numpy()).max() <= 1e-5
    assert (pictures @ pictures.T).min() < 0.999, "images that are all alike would prove nothing"
    assert (texts @ texts.T).min() < 0.99
    assert (encoder.scale, encoder.bias) == pytest.approx((SIGLIP_SCALE, SIGLIP_BIAS), rel=1e-5)
    assert encoder.dimension == expected.image_embeds.shape[1]
    assert texts[0] == pytest.approx(encoder.embed_texts(["A GUN"])[0], abs=1e-6), "case was not trained"


def test_long_texts_are_reported(encoder: SiglipEncoder, caplog: pytest.LogCaptureFixture) -> None:
    long = "a cat and a dog " * 40
    assert encoder.truncated(["a gun", long]) == [long]
    with caplog.at_level(logging.WARNING):
        encoder.embed_texts([long])
        encoder.embed_texts(["a gun", long])
    (record,) = [r for r in caplog.records if r.name == "moderator.encoders.texts"]
    assert "does not see the end of: a cat and a dog" in record.message


# --- folders that are not what they should be


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return dual_encoders.save_siglip(tmp_path / "small")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def load(folder: Path) -> SiglipEncoder:
    return SiglipEncoder(str(folder), device="cpu", dtype="float32")


def test_identity(small: Path) -> None:
    identity = load(small).identity
    assert identity.id == "siglip:small"
    assert identity.preprocessing.startswith("squash 64 bicubic, crop 64, mean [0.5, 0.5, 0.5]")
    assert identity.preprocessing.endswith("padded to 24 tokens")
    data = (small / "spiece.model").read_bytes()
    word = next(w.encode() for w in dual_encoders.WORDS if len(w) > 3 and w.encode() in data)
    (small / "spiece.model").write_bytes(data.replace(word, word[::-1]))
    assert load(small).identity.revision != identity.revision, "another vocabulary is another model"


def test_without_the_packages_of_its_tokenizer(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siglip, "find_spec", lambda name: None)
    with pytest.raises(EncoderUnknown, match=r"pip install 'moderator\[siglip\]'"):
        load(small)


def test_any_shape_is_refused(small: Path) -> None:
    edit(small / "config.json", model_type="siglip2")
    with pytest.raises(WeightsInvalid, match="choose a checkpoint with a fixed resolution"):
        load(small)


def test_another_family_is_refused(small_clip: Path) -> None:
    with pytest.raises(WeightsInvalid, match="of the kind 'clip', not 'siglip'"):
        load(small_clip)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": {"height": 32, "width": 32}},
        {"size": {"shortest_edge": 64}},
        {"do_normalize": False},
        {"rescale_factor": 1 / 127.5},
    ],
)
def test_another_preprocessing_is_refused(small: Path, changes: dict[str, object]) -> None:
    edit(small / "preprocessor_config.json", **changes)
    with pytest.raises(WeightsInvalid, match="cannot load"):
        load(small)
