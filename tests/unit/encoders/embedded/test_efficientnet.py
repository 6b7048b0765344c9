import numpy as np
import pytest
import torch
from PIL import Image

from moderator.encoders.embedded.efficientnet import IMAGE_SIZE, load_classifier, reference_classifier
from moderator.images.resize import resize_and_crop
from tests.support.clip_models import PHOTOGRAPHS


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    names = ("cat.jpg", "coffee.jpg", "hammer.jpg")
    images = [Image.open(PHOTOGRAPHS / name).convert("RGB") for name in names]
    pixels = np.stack([resize_and_crop(image, IMAGE_SIZE, IMAGE_SIZE) for image in images])
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128


@torch.inference_mode()
def test_folding_changes_no_number(batch: torch.Tensor) -> None:
    trunk, weight, bias = load_classifier()
    maps = trunk(batch)
    model = reference_classifier()
    torch.testing.assert_close(maps, model.extract_features(batch), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(maps.mean(dim=(2, 3)) @ weight.T + bias, model(batch), atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_nothing_but_convolutions_is_left(batch: torch.Tensor) -> None:
    trunk, _, _ = load_classifier()
    kinds = {type(module).__name__ for module in trunk.modules() if not list(module.children())}
    assert kinds == {"Conv2d", "ReLU6", "ZeroPad2d"}


@torch.inference_mode()
def test_classifies_photographs(batch: torch.Tensor) -> None:
    trunk, weight, bias = load_classifier()
    best = (trunk(batch).mean(dim=(2, 3)) @ weight.T + bias).argmax(dim=1)
    cats, cups, hammer = range(281, 286), (504, 967, 968), 587
    assert int(best[0]) in cats
    assert int(best[1]) in cups
    assert int(best[2]) == hammer
