import random

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from moderator.images.resize import resize_and_crop, squash


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def reference(processor, image: Image.Image) -> np.ndarray:  # type: ignore[no-untyped-def, type-arg]
    raw = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")
    return raw["pixel_values"][0].transpose(1, 2, 0)


def sizes() -> list[tuple[int, int]]:
    rng = random.Random(7)
    drawn = [(rng.randint(1, 700), rng.randint(1, 700)) for _ in range(60)]
    drawn += [(rng.randint(1, 40), rng.randint(200, 900)) for _ in range(10)]
    return [*drawn, (1, 1), (224, 224), (225, 224), (224, 301), (223, 449), (1, 30), (32, 1), (640, 20)]


@pytest.mark.parametrize(
    ("resize", "crop"), [(224, 224), (256, 224), (336, 335), (97, 64), (64, 97), (50, 51)]
)
def test_equals_the_clip_processor_bit_for_bit(resize: int, crop: int) -> None:
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": resize}, crop_size={"height": crop, "width": crop}
    )
    for width, height in sizes():
        image = noise(width, height)
        ours = resize_and_crop(image, resize, crop)
        assert ours.dtype == np.uint8
        assert ours.shape == (crop, crop, 3)
        if max(width, height) <= 32 * min(width, height):
            np.testing.assert_array_equal(ours, reference(processor, image), f"{width}x{height}")


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.LANCZOS])
def test_takes_other_filters(resample: Image.Resampling) -> None:
    processor = CLIPImageProcessorPil(resample=resample)
    image = noise(300, 517)
    np.testing.assert_array_equal(resize_and_crop(image, 224, 224, resample), reference(processor, image))


@pytest.mark.parametrize("size", [(9000, 100), (100, 9000), (8001, 97)])
def test_a_long_strip_is_the_same_picture(size: tuple[int, int]) -> None:
    image = noise(*size)
    exact = reference(CLIPImageProcessorPil(), image).astype(int)
    difference = np.abs(resize_and_crop(image, 224, 224).astype(int) - exact)
    assert difference.mean() < 0.5  # an offset of one pixel gives more than 20


def test_an_extreme_strip_needs_no_memory() -> None:
    red = resize_and_crop(Image.new("RGB", (60_000, 1), "red"), 224, 224)
    assert red.mean(axis=(0, 1)).tolist() == [255, 0, 0]
    assert resize_and_crop(Image.new("RGB", (1, 60_000), "red"), 100, 224).shape == (224, 224, 3)


def test_squash_equals_the_siglip_processor_bit_for_bit() -> None:
    processor = SiglipImageProcessorPil()
    for width, height in sizes()[:25]:
        image = noise(width, height)
        np.testing.assert_array_equal(squash(image, 224), reference(processor, image))


def test_the_central_part_is_the_same_picture() -> None:
    for width, height in sizes():
        image = noise(width, height)
        exact = resize_and_crop(image, 224, 224).astype(int)
        central = resize_and_crop(image, 224, 224, central=True).astype(int)
        assert np.abs(central - exact).mean() < 0.5, (width, height)
