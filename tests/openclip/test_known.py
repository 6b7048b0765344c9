import open_clip
import pytest
import torch

from moderator.encoders.families.openclip import find_checkpoint
from moderator.encoders.hub import pull
from moderator.encoders.known import KNOWN, KnownModel
from moderator.errors import EncoderUnknown

MODELS = {model.name: model for model in KNOWN if model.name.startswith("openclip:")}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_table_is_true(model: KnownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip, "download_pretrained", lambda settings: "weights")
    name = model.name.removeprefix("openclip:")
    assert find_checkpoint(name).label == name, "the tag is there, and its activation fits"
    architecture = name.partition("/")[0]
    with torch.device("meta"):
        built = open_clip.create_model(architecture, load_weights=False, pretrained_text=False, device="meta")
    size = built.visual.image_size
    assert (size if isinstance(size, int) else size[0]) == model.image_size
    assert open_clip.get_model_config(architecture)["embed_dim"] == model.dimension
    assert sum(parameter.numel() for parameter in built.parameters()) / 1e6 == pytest.approx(
        model.parameters, abs=0.06
    )


def test_pull_names_what_there_is() -> None:
    with pytest.raises(EncoderUnknown, match=r"tags of ViT-B-32 \(.*laion2b_s34b_b79k"):
        pull("openclip:ViT-B-32/nothing")
