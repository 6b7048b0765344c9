from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from moderator.encoders.preprocessing import Preprocessing, read_image_processor
from tests.support.clip_reference import photographs, synthetic

SQUARE = {"height": 70, "width": 70}
ALIGN = {"size": SQUARE, "crop_size": {"height": 57, "width": 57}, "do_center_crop": True, "resample": 2}


@pytest.mark.parametrize(
    "processor",
    [
        CLIPImageProcessorPil(size={"shortest_edge": 72}, crop_size={"height": 64, "width": 64}),
        CLIPImageProcessorPil(size={"shortest_edge": 60}, crop_size={"height": 65, "width": 65}, resample=2),
        SiglipImageProcessorPil(size=SQUARE, image_mean=[0.5] * 3, image_std=[0.25, 0.5, 0.75]),
        EfficientNetImageProcessorPil(
            **ALIGN, rescale_factor=1 / 127.5, rescale_offset=True, include_top=False
        ),
        EfficientNetImageProcessorPil(**ALIGN, include_top=True),
        EfficientNetImageProcessorPil(**ALIGN, do_normalize=False, include_top=False),
    ],
    ids=["clip", "clip, padded", "siglip", "align", "two divisions", "plain"],
)
def test_values_are_those_of_the_processor(processor: Any) -> None:
    read = read_image_processor(processor)
    for sample in [*photographs(), *synthetic()][::5]:
        image = sample.seen
        expected = processor(images=image, return_tensors="np")["pixel_values"][0]
        found = (read(image) * read.factor - np.array(read.mean)) / np.array(read.std)
        assert np.abs(found.transpose(2, 0, 1) - expected).max() < 1e-5, sample.name


def test_a_name_for_everything_that_matters() -> None:
    plain = Preprocessing(8, 8, Image.Resampling.BICUBIC, (0.5,) * 3, (0.5,) * 3)
    assert str(plain) == "resize 8 bicubic, crop 8, mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5]"
    others = [
        Preprocessing(9, 8, plain.resample, plain.mean, plain.std),
        Preprocessing(8, 7, plain.resample, plain.mean, plain.std),
        Preprocessing(8, 8, Image.Resampling.BILINEAR, plain.mean, plain.std),
        Preprocessing(8, 8, plain.resample, (0.4, 0.5, 0.5), plain.std),
        Preprocessing(8, 8, plain.resample, plain.mean, (0.4, 0.5, 0.5)),
        Preprocessing(8, 8, plain.resample, plain.mean, plain.std, factor=1 / 127.5),
        Preprocessing(8, 8, plain.resample, plain.mean, plain.std, squash=True),
        Preprocessing(8, 8, plain.resample, plain.mean, plain.std, rounded=True),
    ]
    assert len({str(each) for each in (plain, *others)}) == 9


@pytest.mark.parametrize("width", [9, 10, 11, 12, 13, 14])
def test_rounded_offsets(width: int) -> None:
    """As torchvision's CenterCrop: `int(round((width - crop) / 2.0))`."""
    ramp = Image.fromarray(np.tile(np.arange(width, dtype=np.uint8)[None, :, None], (8, 1, 3)))
    rounded = Preprocessing(8, 8, Image.Resampling.BICUBIC, (0.0,) * 3, (1.0,) * 3, rounded=True)
    down = Preprocessing(8, 8, Image.Resampling.BICUBIC, (0.0,) * 3, (1.0,) * 3)
    assert rounded(ramp)[0, 0, 0] == round((width - 8) / 2.0)
    assert down(ramp)[0, 0, 0] == (width - 8) // 2
