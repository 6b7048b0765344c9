from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from moderator.images.profiles import (
    DISPLAY_P3_CHROMATICITIES,
    SRGB_CHROMATICITIES,
    convert_visibly,
    make_profile,
)

GRADIENT = Image.merge(
    "RGB", [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L")]
)


def test_srgb_itself_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert convert_visibly(GRADIENT, profile) is None


def test_profiles_of_cameras_change_nothing_that_shows(photograph: Image.Image) -> None:
    assert convert_visibly(photograph, make_profile(2.2, DISPLAY_P3_CHROMATICITIES)) is None


@pytest.fixture
def photograph() -> Image.Image:
    from tests.support.service import DEMO

    return Image.open(DEMO / "coffee.jpg").convert("RGB")


def test_a_profile_that_stretches_or_swaps_is_applied(photograph: Image.Image) -> None:
    white, red, green, blue = (SRGB_CHROMATICITIES[at : at + 2] for at in (0, 2, 4, 6))
    swapped = convert_visibly(photograph, make_profile(2.2, (*white, *blue, *green, *red)))
    assert swapped is not None
    difference = np.asarray(swapped).astype(int) - np.asarray(photograph)[..., ::-1]
    assert np.abs(difference).mean() < 4
    assert convert_visibly(photograph, make_profile(20.0, SRGB_CHROMATICITIES)) is not None


def test_profiles_that_cannot_be_used_are_ignored() -> None:
    for profile in (b"", b"x" * 500, make_profile(9.0, SRGB_CHROMATICITIES)[:200]):
        assert convert_visibly(GRADIENT, profile) is None
    assert convert_visibly(Image.new("CMYK", (9, 9)), make_profile(9.0, SRGB_CHROMATICITIES)) is None


def test_a_profile_of_a_curve_is_read_as_it_was_written() -> None:
    profile = ImageCms.ImageCmsProfile(BytesIO(make_profile([0.0, 0.0, 1.0], SRGB_CHROMATICITIES)))
    converted = ImageCms.profileToProfile(
        Image.new("RGB", (1, 1), (127, 64, 255)), profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None
    assert converted.getpixel((0, 0)) == pytest.approx((0, 0, 255), abs=3)


@pytest.mark.parametrize("colours", [(0.3, 0, 0.6, 0.3, 0.3, 0.6, 0.1, 0.1), (0.3, 0.3, *(0.3, 0.3) * 3)])
def test_colours_that_span_nothing_make_no_profile(colours: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"colour|line"):
        make_profile(2.2, colours)
