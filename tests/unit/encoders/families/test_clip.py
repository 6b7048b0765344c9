import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from moderator.encoders.families.clip import ClipEncoder
from moderator.encoders.texts import TEXT_BATCH
from moderator.errors import WeightsInvalid
from tests.support.clip_reference import Reference, photographs, synthetic

TEXTS = ["a gun", "a photo of a plate of food", "Ünïcode 猫 🐈", "", "x " * 200, "a  gun", "A GUN"]
#: Lowest cosine to float32 that is accepted. The layers of these models are louder than trained ones.
BFLOAT16_COSINE = 0.999
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(scope="module")
def reference(clip_folder: Path) -> Reference:
    return Reference(clip_folder)


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [sample.seen for sample in (*photographs(), *synthetic())][::4]


def embed(encoder: ClipEncoder, images: list[Image.Image]) -> np.ndarray:
    return encoder.embed_images(np.stack([encoder.preprocess(image) for image in images]))


def spread(embeddings: np.ndarray) -> float:
    """The lowest cosine between any two."""
    return float((embeddings @ embeddings.T).min())


def test_facts(clip_encoder: ClipEncoder, reference: Reference) -> None:
    assert clip_encoder.scale == pytest.approx(100, rel=1e-5)
    assert clip_encoder.bias == 0
    assert clip_encoder.dimension == reference.model.config.projection_dim
    assert clip_encoder.image_size == reference.model.config.vision_config.image_size
    assert (clip_encoder.device, clip_encoder.dtype) == ("cpu", "float32")


def test_pixels_are_those_of_the_processor(
    clip_encoder: ClipEncoder, reference: Reference, images: list[Image.Image]
) -> None:
    mean, std = np.array(reference.processor.image_mean), np.array(reference.processor.image_std)
    for image in images:
        expected = reference.pixels([image])[0].permute(1, 2, 0).numpy() * std + mean
        assert np.abs(clip_encoder.preprocess(image) / 255 - expected).max() < 1e-5


def test_image_embeddings_are_those_of_the_model(
    clip_encoder: ClipEncoder, reference: Reference, images: list[Image.Image]
) -> None:
    found, expected = embed(clip_encoder, images), reference.image_embeddings(images)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-5
    assert spread(found) < 0.7, "images that are all alike would prove nothing"


def test_text_embeddings_are_those_of_the_model(clip_encoder: ClipEncoder, reference: Reference) -> None:
    found, expected = clip_encoder.embed_texts(TEXTS), reference.text_embeddings(TEXTS)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-5
    assert spread(found) < 0.9
    assert found[0] == pytest.approx(found[6], abs=1e-6), "CLIP reads lower case"


def test_a_text_does_not_depend_on_its_neighbours(clip_encoder: ClipEncoder) -> None:
    together = clip_encoder.embed_texts(["a gun", "a much longer text about something else"])
    assert np.abs(together[0] - clip_encoder.embed_texts(["a gun"])[0]).max() <= 1e-5


def test_an_image_does_not_depend_on_its_neighbours(small_clip: Path, images: list[Image.Image]) -> None:
    encoder = ClipEncoder(str(small_clip), device="cpu", dtype="float32")
    together = embed(encoder, images[:5])
    for n in range(5):
        assert np.abs(together[n] - embed(encoder, images[n : n + 1])[0]).max() <= 1e-5


def test_rows_have_length_1(small_clip: Path, images: list[Image.Image]) -> None:
    encoder = ClipEncoder(str(small_clip), device="cpu", dtype="bfloat16")
    for rows in (embed(encoder, images[:4]), encoder.embed_texts(TEXTS)):
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)


def test_bfloat16_stays_close(clip_folder: Path, reference: Reference, images: list[Image.Image]) -> None:
    encoder = ClipEncoder(str(clip_folder), device="cpu", dtype="bfloat16")
    assert encoder.dtype == "bfloat16"
    found, expected = embed(encoder, images), reference.image_embeddings(images)
    assert found.dtype == np.float32
    assert (found * expected).sum(axis=1).min() > BFLOAT16_COSINE
    found, expected = encoder.embed_texts(TEXTS), reference.text_embeddings(TEXTS)
    assert (found * expected).sum(axis=1).min() > BFLOAT16_COSINE


def test_no_texts_and_many_texts(small_clip: Path) -> None:
    encoder = ClipEncoder(str(small_clip), device="cpu", dtype="float32")
    assert encoder.embed_texts([]).shape == (0, encoder.dimension)
    many = encoder.embed_texts([f"text {n % 7}" for n in range(TEXT_BATCH + 5)])
    assert many.shape == (TEXT_BATCH + 5, encoder.dimension)
    assert np.abs(many[TEXT_BATCH] - many[TEXT_BATCH % 7]).max() <= 1e-5


# --- the identity, and folders that are not what they should be


@pytest.fixture
def folder(small_clip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_clip, tmp_path / "model"))


def load(folder: Path) -> ClipEncoder:
    return ClipEncoder(str(folder), device="cpu", dtype="float32")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_identity_follows_the_content(folder: Path) -> None:
    first = load(folder).identity
    assert load(folder).identity == first
    assert first.id == "clip:model"
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"][0, 0] += 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    second = load(folder).identity
    assert second.revision != first.revision
    tokens = json.loads((folder / "tokenizer.json").read_text())
    tokens["normalizer"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokens))
    assert load(folder).identity.revision not in (first.revision, second.revision)


def test_the_identity_names_the_preprocessing(folder: Path) -> None:
    first = load(folder).identity
    edit(folder / "preprocessor_config.json", image_mean=[0.5, 0.5, 0.5])
    assert load(folder).identity.preprocessing != first.preprocessing
    assert load(folder).identity.key != first.key


def without_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def wrong_shape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["text_projection.weight"] = torch.zeros(3, 3)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def truncated(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def no_preprocessing(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def another_architecture(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def squashed(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", size={"height": 64, "width": 64})


def another_crop(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", crop_size={"height": 32, "width": 32})


def not_normalised(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", do_normalize=False)


def scaled_otherwise(folder: Path) -> None:
    edit(folder / "preprocessor_config.json", rescale_factor=1 / 127.5)


def configured(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["text_config"] |= changes
        (folder / "config.json").write_text(json.dumps(config))

    return spoil


def preprocessing_of_no_kind(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("[]")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (configured(num_hidden_layers=1), "no place for 16 weights of layers"),
        (configured(num_attention_heads=0), "ZeroDivisionError"),
        (configured(hidden_act=7), "cannot load"),
        (configured(hidden_act="nope"), "cannot load"),
        (preprocessing_of_no_kind, "cannot load"),
        (without_weight, r"1 weights are missing, such as text_projection\.weight"),
        (wrong_shape, "cannot load"),
        (truncated, "cannot load"),
        (no_tokenizer, "the tokenizer has 2 tokens"),
        (no_preprocessing, "cannot load"),
        (another_architecture, "a model of the kind 'bert'"),
        (broken_config, "cannot load"),
        (pickled_weights, "cannot load"),
        (squashed, "its preprocessing is not"),
        (another_crop, "its preprocessing is not"),
        (not_normalised, "its preprocessing is not"),
        (scaled_otherwise, "its preprocessing is not"),
    ],
)
def test_a_spoilt_folder_is_refused(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(WeightsInvalid, match=message):
        load(folder)


@pytest.mark.cuda
@CUDA
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_on_cuda_stays_close(
    clip_folder: Path, reference: Reference, images: list[Image.Image], dtype: str
) -> None:
    encoder = ClipEncoder(str(clip_folder), device="cuda", dtype=dtype)
    assert (encoder.device, encoder.dtype) == ("cuda", dtype)
    found = embed(encoder, images)
    assert (found * reference.image_embeddings(images)).sum(axis=1).min() > BFLOAT16_COSINE
    found = encoder.embed_texts(TEXTS)
    assert (found * reference.text_embeddings(TEXTS)).sum(axis=1).min() > BFLOAT16_COSINE


@pytest.mark.cuda
@CUDA
def test_float32_on_cuda(clip_folder: Path, reference: Reference, images: list[Image.Image]) -> None:
    encoder = ClipEncoder(str(clip_folder), device="cuda", dtype="float32")
    assert np.abs(embed(encoder, images) - reference.image_embeddings(images)).max() <= 1e-4


def test_a_text_tower_that_was_unloaded_comes_back(small_clip: Path) -> None:
    encoder = ClipEncoder(str(small_clip), "cpu", "float32")
    pixels = np.zeros((1, encoder.image_size, encoder.image_size, 3), dtype=np.uint8)
    texts, image = encoder.embed_texts(["a cat"]), encoder.embed_images(pixels)
    for _ in range(2):
        encoder.unload_texts()
        held = {name for name, _ in encoder._model.named_parameters()}
        assert not any(name.startswith("text_model") for name in held)
        assert np.array_equal(encoder.embed_images(pixels), image)
        assert np.array_equal(encoder.embed_texts(["a cat"]), texts)
        assert not any(name.startswith("vision_model") for name, _ in encoder._texts.named_parameters())


def test_a_text_tower_that_cannot_be_loaded_again_is_told_and_may_come_back(
    small_clip: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_clip, tmp_path / "clip")
    encoder = ClipEncoder(str(folder), "cpu", "float32")
    texts = encoder.embed_texts(["a cat"])
    encoder.unload_texts()
    folder.rename(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(WeightsInvalid, match="MODERATOR_UNLOAD_TEXTS"):
            encoder.embed_texts(["a cat"])
    (tmp_path / "elsewhere").rename(folder)
    assert np.array_equal(encoder.embed_texts(["a cat"]), texts)
