import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from moderator.encoders.encoder_registry import load_encoder
from moderator.encoders.families.openclip import OpenClipEncoder, find_checkpoint
from moderator.errors import EncoderUnknown, WeightsInvalid
from tests.support import open_clip_models
from tests.support.clip_models import PHOTOGRAPHS

ARCHITECTURE = "ViT-S-32-alt"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest architecture of OpenCLIP, under a name that has published weights of one activation."""
    open_clip.factory._MODEL_CONFIGS["ViT-B-32-256"] = open_clip.get_model_config(ARCHITECTURE)
    folder = tmp_path_factory.mktemp("small") / "model"
    folder.mkdir()
    return open_clip_models.save_weights("ViT-B-32-256", folder / "weights.safetensors")


@pytest.fixture
def folder(weights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(weights.parent, tmp_path / "model"))


def load(model: str, dtype: str = "float32") -> OpenClipEncoder:
    encoder = load_encoder(f"openclip:{model}", "cpu", dtype)
    assert isinstance(encoder, OpenClipEncoder)
    return encoder


def test_a_file_and_a_folder(folder: Path) -> None:
    file = load(f"ViT-B-32-256/{folder / 'weights.safetensors'}")
    assert file.identity.id == "openclip:ViT-B-32-256/weights.safetensors"
    assert file.identity.preprocessing.startswith("resize 224 bicubic, crop 224 rounded, mean [0.48145466")
    whole = load(f"ViT-B-32-256/{folder}")
    assert whole.identity.id == "openclip:ViT-B-32-256/model"
    assert whole.identity.revision == file.identity.revision
    np.testing.assert_array_equal(whole.embed_texts(["a gun"]), file.embed_texts(["a gun"]))


def test_the_identity_follows_the_weights(folder: Path) -> None:
    before = load(f"ViT-B-32-256/{folder}").identity
    state = load_file(folder / "weights.safetensors")
    state["text_projection"][0, 0] += 1
    save_file(state, folder / "weights.safetensors")
    assert load(f"ViT-B-32-256/{folder}").identity.revision != before.revision


def test_a_folder_that_says_what_it_is(folder: Path) -> None:
    config = open_clip.get_model_config("ViT-B-32-256")
    settings = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    open_clip_models.write_config(folder, config, settings)
    encoder = load(f"ViT-B-32-256/{folder}")
    assert encoder.identity.preprocessing == (
        "squash 224 bilinear, crop 224, mean [0.5, 0.5, 0.5], std [0.25, 0.25, 0.25]"
    )
    config["vision_cfg"]["layers"] = 99
    open_clip_models.write_config(folder, config, settings)
    with pytest.raises(WeightsInvalid, match=r"vision_cfg\.layers is 99, and \d+ in ViT-B-32-256"):
        load(f"ViT-B-32-256/{folder}")


def test_half_precision_stays_close(folder: Path) -> None:
    whole, half = load(f"ViT-B-32-256/{folder}"), load(f"ViT-B-32-256/{folder}", "bfloat16")
    assert half.identity == whole.identity
    assert half.dtype == "bfloat16"
    pixels = np.stack(
        [whole.preprocess(Image.open(p).convert("RGB")) for p in sorted(PHOTOGRAPHS.glob("c*.jpg"))]
    )
    assert (whole.embed_images(pixels) * half.embed_images(pixels)).sum(axis=1).min() > 0.99
    texts = ["a gun", "a plate of food"]
    assert (whole.embed_texts(texts) * half.embed_texts(texts)).sum(axis=1).min() > 0.99


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-Z-99/openai", "knows no 'ViT-Z-99'"),
        ("ViT-B-32", "'' is neither a file nor a folder, nor one of OpenCLIP's tags of ViT-B-32"),
        ("ViT-B-32/laion3b", "'laion3b' is neither"),
        ("ViT-B-16/openai", "want another activation; name them ViT-B-16-quickgelu/openai"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(EncoderUnknown, match=message):
        find_checkpoint(name)


def test_a_tag_brings_its_preprocessing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def download(settings: dict[str, object]) -> str:
        asked.append(settings["hf_hub"])
        return str(tmp_path / "x.safetensors")

    monkeypatch.setattr(open_clip, "download_pretrained", download)
    found = find_checkpoint("ViT-B-16-SigLIP/webli")
    assert asked == ["timm/ViT-B-16-SigLIP/"]
    assert found.label == "ViT-B-16-SigLIP/webli"
    assert found.preprocessing is not None
    assert (found.preprocessing["mean"], found.preprocessing["resize_mode"]) == ((0.5, 0.5, 0.5), "squash")


def test_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def download(settings: dict[str, object]) -> str:
        raise FileNotFoundError("no network")

    monkeypatch.setattr(open_clip, "download_pretrained", download)
    with pytest.raises(WeightsInvalid, match="no network\nGive a tag that this machine can reach"):
        find_checkpoint("ViT-L-14/laion2b_s32b_b82k")


def test_unclear_preprocessing_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsInvalid, match=r"put open_clip_config\.json beside the weights"):
        load(f"ViT-S-32/{folder}")


def test_an_unclear_activation_is_refused(folder: Path) -> None:
    """Published weights of ViT-B-32 want either; a name or a configuration beside the weights says which."""
    for weights in (folder, folder / "weights.safetensors"):
        with pytest.raises(WeightsInvalid, match=r"which activation .* name them ViT-B-32-quickgelu/"):
            find_checkpoint(f"ViT-B-32/{weights}")
    open_clip_models.write_config(folder, open_clip.get_model_config("ViT-B-32"), {})
    assert find_checkpoint(f"ViT-B-32/{folder}").own_folder


def test_no_weights_and_too_many(folder: Path) -> None:
    shutil.copy(folder / "weights.safetensors", folder / "more.safetensors")
    with pytest.raises(WeightsInvalid, match=r"2 files \*\.safetensors; name one"):
        load(f"ViT-B-32-256/{folder}")
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(WeightsInvalid, match="holds no weights"):
        load(f"ViT-B-32-256/{folder}")


def test_a_weight_that_is_missing_or_too_many(folder: Path) -> None:
    state = load_file(folder / "weights.safetensors")
    del state["text_projection"]
    save_file(state, folder / "weights.safetensors")
    with pytest.raises(WeightsInvalid, match="text_projection"):
        load(f"ViT-B-32-256/{folder}")


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('the pickle was run')",))


def test_a_pickle_that_runs_code_is_refused(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with (folder / "weights.pt").open("wb") as file:
        pickle.dump({"state_dict": Bomb()}, file)
    with pytest.raises(WeightsInvalid, match="cannot load"):
        load(f"ViT-B-32-256/{folder}")
    torch.save({"state_dict": Bomb()}, folder / "weights.pt")
    with pytest.raises(WeightsInvalid, match="cannot load"):
        load(f"ViT-B-32-256/{folder}")


def test_a_pickle_of_tensors_is_taken(folder: Path) -> None:
    before = load(f"ViT-B-32-256/{folder}")
    torch.save({"state_dict": load_file(folder / "weights.safetensors")}, folder / "weights.pt")
    (folder / "weights.safetensors").unlink()
    np.testing.assert_array_equal(
        load(f"ViT-B-32-256/{folder}").embed_texts(["a"]), before.embed_texts(["a"])
    )


def test_a_broken_config(folder: Path) -> None:
    (folder / "open_clip_config.json").write_text(json.dumps({"model": {}}))
    with pytest.raises(WeightsInvalid, match="cannot load"):
        load(f"ViT-B-32-256/{folder}")
