"""Each trick with formats, made from the demo's photographs: what people see is among the images judged."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import animation_tricks, damage_tricks  # noqa: F401 (they register tricks)
from benchmarks.format_tricks import TRICKS, make_square
from moderator.images.decode import DecodeLimits, decode
from tests.support.service import DEMO

LIMITS = DecodeLimits(max_bytes=25_000_000, max_pixels=80_000_000, max_frames=16, timeout=60.0)
#: Largest mean difference, in levels of 255: of what is stored without loss, and of what is not.
EXACT, LOSSY = 1.5, 10.0
DAMAGED = [f"{name}-truncated" for name in ("jpeg", "png", "gif", "bmp")] + [
    "png-wrong-checksum",
    "png-wrong-filter",
]


@pytest.mark.parametrize("name", TRICKS)
def test_what_people_see_is_judged(name: str) -> None:
    photograph, other = (make_square(Image.open(DEMO / file)) for file in ("red-panda.jpg", "coffee.jpg"))
    file, visible = TRICKS[name](photograph, other)
    decoded = decode(file, LIMITS)
    seen = np.asarray(visible).astype(int)
    errors = [
        np.abs(np.asarray(frame) - seen).mean() for frame in decoded.frames if frame.size == visible.size
    ]
    lossy = decoded.format in ("jpeg", "avif", "webp", "gif") or name.startswith(("profile", "middle-frame"))
    assert min(errors) < (LOSSY if lossy else EXACT)
    assert decoded.coverage.unseen == 0
    assert decoded.coverage.truncated == (name == "jpeg-without-end" or name in DAMAGED)
    assert len(decoded.renderings) == len(decoded.frames)
