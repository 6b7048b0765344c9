import io

import pytest
from PIL import Image

from benchmarks.format_writers import encode
from moderator.images.metadata import Metadata, read_metadata

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'


def read(name: str, **options: object) -> Metadata:
    data = encode(Image.new("RGB", (8, 8)), name, **options)
    image = Image.open(io.BytesIO(data))
    image.load()
    return read_metadata(image, name)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("JPEG", {}, (1, True)),
        ("JPEG", {"exif": exif(6)}, (6, True)),
        ("JPEG", {"xmp": XMP}, (3, False)),
        ("JPEG", {"exif": exif(1), "xmp": XMP}, (1, True)),
        ("AVIF", {"exif": exif(6)}, (6, True)),  # as a property of the picture
        ("WEBP", {"exif": exif(6)}, (6, False)),
        ("PNG", {"exif": exif(6)}, (6, False)),
        ("TIFF", {"exif": exif(6)}, (1, True)),  # turned already
    ],
)
def test_who_heeds_an_orientation(name: str, options: dict[str, object], expected: tuple[int, bool]) -> None:
    found = read(name, **options)
    assert (found.orientation, found.turned_by_all) == expected


def test_a_gamma_far_from_srgb_makes_a_profile() -> None:
    image = Image.new("RGB", (8, 8))
    for gamma, expected in ((0.45455, False), (0.44, False), (0.02, True), (3.0, True), (0.0, False)):
        image.info["gamma"] = gamma
        assert (read_metadata(image, "PNG").profile is not None) == expected
    image.info["srgb"] = 0
    image.info["gamma"] = 0.02
    assert read_metadata(image, "PNG").profile is None
