"""Pictures of the same thing, to learn from: mirrored, and parts of what the model sees. Pure.

A probe that is learnt from few images finds what they have in common by chance. Variants have less of it in common
(Krizhevsky et al., 2012, section 4.1). They are made of the model's own input, which costs no second decoding.
"""

import numpy as np
from PIL import Image

from moderator.encoders.encoder import Pixels

#: Side of a part, as a share of the picture's.
PART_SHARE = 0.75
VARIANTS = 6


def make_variants(pixels: Pixels) -> Pixels:
    """Return the variants of a picture: mirrored, its four corners, and its centre.

    Args:
        pixels: uint8 [side, side, 3], input of an encoder.

    Returns:
        uint8 [VARIANTS, side, side, 3]
    """
    side = len(pixels)
    part = round(PART_SHARE * side)
    far, middle = side - part, (side - part) // 2
    picture = Image.fromarray(pixels)
    parts = [
        picture.resize((side, side), Image.Resampling.BICUBIC, (x, y, x + part, y + part))
        for x, y in ((0, 0), (far, 0), (0, far), (far, far), (middle, middle))
    ]
    return np.stack([pixels[:, ::-1], *map(np.asarray, parts)])
