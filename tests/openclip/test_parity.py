import logging
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import open_clip
import pytest
from PIL import Image

from moderator.encoders.encoder_registry import load_encoder
from moderator.encoders.families.openclip import OpenClipEncoder
from tests.support import open_clip_models
from tests.support.clip_reference import photographs, synthetic
from tests.support.open_clip_models import Reference

TEXTS = [
    "a gun",
    "A photo of a plate of food!",
    "Ünïcode 猫 🐈 isn't  easy &amp; <tags>",
    "",
    "a photo of 3 cats, 12 dogs and a bird in a cage",
]
CLIP = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
SIGLIP = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_mode": "squash", "interpolation": "bicubic"}
MOBILE = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "resize_mode": "shortest", "interpolation": "bilinear"}


class Case(NamedTuple):
    architecture: str
    layers: int | None
    """In each tower; None: all that it has."""
    preprocessing: dict[str, Any]


#: The giants keep their widths, heads and patches, and lose depth: at full depth they take 5 to 10 GB.
CASES = {
    "ViT-B-32": Case("ViT-B-32", None, CLIP),
    "ViT-B-32-quickgelu": Case("ViT-B-32-quickgelu", 3, CLIP),
    "EVA02-B-16": Case("EVA02-B-16", None, CLIP),
    "ViT-B-16-SigLIP": Case("ViT-B-16-SigLIP", None, SIGLIP),
    "MobileCLIP-S1": Case("MobileCLIP-S1", None, MOBILE),
    "ViT-H-14": Case("ViT-H-14", 2, CLIP),
    "ViT-g-14": Case("ViT-g-14", 2, CLIP),
    "ViT-bigG-14": Case("ViT-bigG-14", 2, CLIP),
}


class Model(NamedTuple):
    encoder: OpenClipEncoder
    reference: Reference


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    odd = [Image.new("RGB", size, "teal") for size in ((301, 224), (225, 300), (77, 1000))]
    return [*[sample.seen for sample in (*photographs(), *synthetic())][::7], *odd]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(case: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """As a folder with `open_clip_config.json`, so that nothing but this folder is needed."""
    architecture, layers, preprocessing = CASES[case]
    name = f"test-{case}"
    config = open_clip_models.register(name, architecture, layers)
    folder = tmp_path_factory.mktemp("openclip") / case
    folder.mkdir()
    weights = open_clip_models.save_weights(name, folder / "open_clip_model.safetensors")
    open_clip_models.write_config(folder, config, preprocessing)
    if "hf_tokenizer_name" in config["text_cfg"]:
        open_clip_models.save_tokenizer(folder)
    encoder = load_encoder(f"openclip:{name}/{folder}", "cpu", "float32")
    assert isinstance(encoder, OpenClipEncoder)
    reference = Reference.load(
        name if "hf_tokenizer_name" not in config["text_cfg"] else f"local-dir:{folder}",
        weights,
        preprocessing,
    )
    yield Model(encoder, reference)
    shutil.rmtree(folder)


def test_images(model: Model, images: list[Image.Image]) -> None:
    found = model.encoder.embed_images(np.stack([model.encoder.preprocess(image) for image in images]))
    expected = model.reference.images(images)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-5
    assert (found @ found.T).min() < 0.999, "images that are all alike would prove nothing"


def test_texts(model: Model) -> None:
    long = "a photo of a plate of food " * 20
    texts = [*TEXTS, long]
    found, expected = model.encoder.embed_texts(texts), model.reference.texts(texts)
    assert np.abs(found - expected).max() <= 1e-5
    assert (found @ found.T).min() < 0.999
    assert model.encoder.truncated(texts) == [long]


def test_probabilities(model: Model, images: list[Image.Image]) -> None:
    pictures = model.encoder.embed_images(np.stack([model.encoder.preprocess(image) for image in images[:4]]))
    texts = model.encoder.embed_texts(TEXTS)
    logits = model.encoder.scale * pictures.astype(np.float64) @ texts.T + model.encoder.bias
    expected = model.reference.logits(images[:4], TEXTS).numpy().astype(np.float64)
    if model.encoder.bias:
        found, expected = 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-expected))
    else:
        found, expected = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (logits, expected))
    assert np.abs(found - expected).max() <= 1e-5


def test_pixels(model: Model, images: list[Image.Image]) -> None:
    normalize = model.reference.transform.transforms[-1]
    mean, std = np.array(normalize.mean), np.array(normalize.std)
    for image in images:
        expected = model.reference.transform(image).permute(1, 2, 0).numpy() * std + mean
        assert np.abs(model.encoder.preprocess(image) / 255 - expected).max() < 1e-5


def test_facts(case: str, model: Model) -> None:
    assert model.encoder.identity.id == f"openclip:test-{case}/{case}"
    assert model.encoder.dimension == open_clip.get_model_config(f"test-{case}")["embed_dim"]
    assert model.encoder.scale == pytest.approx(117 if "SigLIP" in case else 100, rel=1e-5)
    assert model.encoder.bias == pytest.approx(-12.9 if "SigLIP" in case else 0)


def test_a_cut_text_is_logged_once(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    text = "a cat and a dog " * 40
    with caplog.at_level(logging.WARNING):
        model.encoder.embed_texts([text])
        model.encoder.embed_texts([text, "a gun"])
    assert len([r for r in caplog.records if r.name == "moderator.encoders.texts"]) == 1
