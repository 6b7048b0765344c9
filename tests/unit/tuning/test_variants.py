import numpy as np

from moderator.tuning.variants import PART_SHARE, VARIANTS, make_variants


def test_variants_are_the_mirrored_picture_its_corners_and_its_centre() -> None:
    side = 64
    pixels = np.zeros((side, side, 3), dtype=np.uint8)
    quarter = round((1 - PART_SHARE) * side)
    pixels[:quarter, :quarter] = (255, 0, 0)  # in one corner part alone
    variants = make_variants(pixels)
    assert variants.shape == (VARIANTS, side, side, 3)
    assert variants.dtype == np.uint8
    assert (variants[0] == pixels[:, ::-1]).all()
    red = variants[1:, ..., 0].mean(axis=(1, 2))
    assert red[0] > 20  # larger than in the picture, where it is 16
    assert (red[1:4] < 1).all()
    assert 0 < red[4] < red[0]
