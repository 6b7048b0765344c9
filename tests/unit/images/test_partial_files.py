import numpy as np
import pytest
from PIL import Image

from benchmarks.format_writers import encode
from moderator.errors import ImageBroken
from moderator.images.partial_files import load_partial_jpeg
from tests.support.service import DEMO


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    return encode(Image.open(DEMO / "coffee.jpg").convert("RGB").resize((320, 240)), "JPEG", quality=90)


def test_without_its_end_marker_all_of_it_is_there(jpeg: bytes) -> None:
    image, alpha = load_partial_jpeg(jpeg.removesuffix(b"\xff\xd9"), None)
    assert alpha is None
    assert image.size == (320, 240)


@pytest.mark.parametrize("draft_to", [None, (80, 60)])
def test_rows_that_are_missing_are_transparent(jpeg: bytes, draft_to: tuple[int, int] | None) -> None:
    _, alpha = load_partial_jpeg(jpeg[: len(jpeg) // 2], draft_to)
    assert alpha is not None
    opaque = np.asarray(alpha)[:, 0] == 255
    assert 0.3 < opaque.mean() < 0.7
    assert opaque.argmin() == opaque.sum(), "the upper rows"


def test_too_little_is_broken(jpeg: bytes) -> None:
    with pytest.raises(ImageBroken, match="of its 240 rows"):
        load_partial_jpeg(jpeg[: jpeg.index(b"\xff\xda") + 60], None)
