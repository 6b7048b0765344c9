import numpy as np
import pytest
from PIL import Image

from moderator.images.colour import WHITE, alpha_of, on_background, to_rgb


def pixel(image: Image.Image) -> tuple[int, ...]:
    """The first pixel, as it is seen on white."""
    rgb, alpha = to_rgb(image), alpha_of(image)
    assert rgb.mode == "RGB"
    if alpha is not None:
        rgb = on_background(rgb, alpha, WHITE)
    return rgb.getpixel((0, 0))  # type: ignore[return-value]


def test_rgb_is_not_copied() -> None:
    image = Image.new("RGB", (2, 2))
    assert to_rgb(image) is image


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("RGBX", (1, 2, 3, 0), (1, 2, 3)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("RGBA", (200, 0, 0, 255), (200, 0, 0)),
        ("RGBA", (200, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (9, 255), (9, 9, 9)),
        ("PA", (0, 0), (255, 255, 255)),
    ],
)
def test_modes(mode: str, colour: int | tuple[int, ...], expected: tuple[int, ...]) -> None:
    image = Image.new(mode, (2, 2))
    image.putdata([colour] * 4)
    assert pixel(image) == expected


def test_palette_and_colour_key_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([1, 0])
    assert pixel(image) == (0, 255, 0)
    image.info["transparency"] = 1
    assert pixel(image) == (255, 255, 255)
    keyed = Image.new("RGB", (1, 1), (7, 8, 9))
    keyed.info["transparency"] = (7, 8, 9)
    assert pixel(keyed) == (255, 255, 255)


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("uint16", [0, 32896, 65535], [0, 128, 255]),
        (">u2", [0, 32896, 65535], [0, 128, 255]),
        ("int32", [0, 128, 255], [0, 128, 255]),
        ("int32", [0, 32896, 65535], [0, 128, 255]),
        ("int32", [-1000, 0, 1000], [0, 128, 255]),
        ("int32", [0, 2**30, 2**31 - 1], [0, 128, 255]),
        ("float32", [0, 0.5, 1], [0, 128, 255]),
        ("float32", [0, 128, 255], [0, 128, 255]),
        ("float32", [-3e38, 0, 3e38], [0, 128, 255]),
        ("float32", [0, 0, 0], [0, 0, 0]),
        ("float32", [-5, -5, -5], [0, 0, 0]),
        ("float32", [float("nan"), float("inf"), 1], [0, 0, 255]),
    ],
)
def test_deep_samples_are_scaled_not_clipped(dtype: str, values: list[float], expected: list[int]) -> None:
    rgb = np.asarray(to_rgb(Image.fromarray(np.array([values], dtype=dtype))))
    np.testing.assert_allclose(rgb[0, :, 0], expected, atol=1)
    assert (rgb[..., 0] == rgb[..., 2]).all()
