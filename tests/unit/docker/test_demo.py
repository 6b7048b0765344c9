"""The demo pictures are free to use, small, and what they claim to be."""

import re
from pathlib import Path

import pytest
from PIL import Image, ImageOps

DEMO = Path(__file__).parents[3] / "moderator" / "data" / "demo"
PICTURES = sorted(path for path in DEMO.iterdir() if path.suffix != ".md")
each_picture = pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)


def attributions() -> dict[str, list[str]]:
    table = re.findall(r"^\| `([^`]+)` \| (.+) \|$", (DEMO / "ATTRIBUTION.md").read_text(), re.M)
    return {file: [cell.strip() for cell in cells.split(" | ")] for file, cells in table}


def test_every_picture_is_attributed_and_no_other() -> None:
    assert set(attributions()) == {path.name for path in PICTURES}
    assert len(PICTURES) >= 8


@each_picture
def test_a_picture_is_in_the_public_domain(path: Path) -> None:
    title, author, licence, source, changes = attributions()[path.name]
    assert all((title, author, source, changes))
    assert licence in {"CC0 1.0", "public domain", "CC0 1.0 and public domain"}


@each_picture
def test_a_picture_is_small_and_decodes_to_the_end(path: Path) -> None:
    assert path.stat().st_size <= 150_000
    with Image.open(path) as image:
        assert max(image.size) <= 1024
        assert min(image.size) >= 200
        suffix = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp"}
        assert suffix[image.format or ""] == path.suffix
        for frame in range(getattr(image, "n_frames", 1)):
            image.seek(frame)
            image.load()


def test_all_together_are_below_two_megabytes() -> None:
    assert sum(path.stat().st_size for path in PICTURES) < 2_000_000


@each_picture
def test_only_the_sideways_picture_carries_metadata(path: Path) -> None:
    with Image.open(path) as image:
        assert dict(image.getexif()) == ({0x0112: 6} if path.stem.endswith("sideways") else {})
        assert not {"icc_profile", "xmp", "comment"} & set(image.info)


def test_the_set_exercises_formats_orientation_and_frames() -> None:
    assert {path.suffix for path in PICTURES} == {".jpg", ".png", ".gif", ".webp"}
    with Image.open(DEMO / "moose-sideways.jpg") as image:
        width, height = image.size
        assert ImageOps.exif_transpose(image).size == (height, width)
        assert height > width
    with Image.open(DEMO / "slideshow.gif") as image:
        assert getattr(image, "n_frames", 1) == 4
