import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil

from moderator.encoders.families.auto import AutoEncoder
from moderator.errors import WeightsInvalid
from tests.support import dual_encoders
from tests.support.clip_reference import photographs, synthetic
from tests.support.dual_encoders import Reference

TEXTS = ["a gun", "a photo of a plate of food", "A GUN!", "丁七万 a cat", "", "a red house"]
MODELS = {
    "chinese-clip": (dual_encoders.save_chinese_clip, ChineseCLIPImageProcessorPil, 40),
    "alt-clip": (dual_encoders.save_alt_clip, CLIPImageProcessorPil, 32),
    "meta-clip-2": (dual_encoders.save_meta_clip_2, CLIPImageProcessorPil, 24),
    "align": (dual_encoders.save_align, EfficientNetImageProcessorPil, 40),
}


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [sample.seen for sample in (*photographs(), *synthetic())][::7]


@pytest.fixture(scope="module", params=MODELS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    return MODELS[kind][0](tmp_path_factory.mktemp("auto") / kind)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> AutoEncoder:
    return AutoEncoder(str(folder), device="cpu", dtype="float32")


def test_parity(kind: str, folder: Path, encoder: AutoEncoder, images: list[Image.Image]) -> None:
    length = MODELS[kind][2]
    reference = Reference(folder, MODELS[kind][1], padding=True, max_length=length)
    texts = [*TEXTS, "a cat " * 100]
    expected = reference(images, texts)
    pictures = encoder.embed_images(np.stack([encoder.preprocess(image) for image in images]))
    found = encoder.embed_texts(texts)
    assert encoder.truncated(texts) == texts[-1:]
    assert np.abs(pictures - expected.image_embeds.numpy()).max() <= 1e-5
    assert np.abs(found - expected.text_embeds.numpy()).max() <= 1e-5
    logits = encoder.scale * pictures @ found.T + encoder.bias
    probabilities = torch.from_numpy(logits).softmax(dim=1).numpy()
    assert np.abs(probabilities - expected.logits_per_image.softmax(dim=1).numpy()).max() <= 1e-5
    assert (pictures @ pictures.T).min() < 0.99, "images that are all alike would prove nothing"
    assert (found @ found.T).min() < 0.99


def test_bfloat16(kind: str, folder: Path, encoder: AutoEncoder, images: list[Image.Image]) -> None:
    half = AutoEncoder(str(folder), device="cpu", dtype="bfloat16")
    assert half.identity == encoder.identity
    pixels = np.stack([encoder.preprocess(image) for image in images])
    assert (half.embed_images(pixels) * encoder.embed_images(pixels)).sum(axis=1).min() > 0.99


# --- what cannot be reproduced is refused


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def uncropped(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", do_center_crop=False)


def oblong(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", crop_size={"height": 64, "width": 32})


def fitted(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", size={"shortest_edge": 64, "longest_edge": 100})


def padded(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", do_pad=True)


def another_processor(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", image_processor_type="ConvNextImageProcessor")


def one_tower(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))


def clip(folder: Path) -> None:
    edit(folder / "config.json", model_type="clip")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (uncropped, "crops nothing"),
        (oblong, "which is no square"),
        (fitted, "neither a square nor a shortest edge"),
        (padded, "its preprocessing is not"),
        (another_processor, "has a _preprocess of its own"),
        (one_tower, "has not both"),
        (clip, "name it with clip:"),
    ],
)
def test_a_spoilt_folder_is_refused(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    folder = dual_encoders.save_chinese_clip(tmp_path / "model")
    spoil(folder)
    with pytest.raises(WeightsInvalid, match=message):
        AutoEncoder(str(folder), device="cpu", dtype="float32")


def test_a_model_with_another_similarity_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = dual_encoders.save_chinese_clip(tmp_path / "model")
    monkeypatch.setattr(AutoEncoder, "scale_and_bias", lambda self, model: (7.0, 0.0))
    with pytest.raises(WeightsInvalid, match="own logits differ"):
        AutoEncoder(str(folder), device="cpu", dtype="float32")
