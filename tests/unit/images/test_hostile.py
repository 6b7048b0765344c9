"""Whole files with something odd about them: colour modes, metadata, two formats in one, text as an image."""

import gzip
import io
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from moderator.errors import ImageBroken, ImageTooLarge, NotAnImage
from moderator.images.decode import DecodedImage, DecodeLimits, decode

LIMITS = DecodeLimits(max_bytes=25_000_000, max_pixels=80_000_000, max_frames=4, timeout=10.0)
RED = (220, 20, 20)
# pytest resets the filter that the decoder sets.
pytestmark = pytest.mark.filterwarnings(*(f"ignore:::PIL.{m}" for m in ("Image", "TiffImagePlugin")))


def encode(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def red(mode: str = "RGB", size: int = 32) -> Image.Image:
    return Image.new("RGB", (size, size), RED).convert(mode)


def colour(decoded: DecodedImage) -> list[int]:
    return np.median(np.asarray(decoded.frames[0]).reshape(-1, 3), axis=0).astype(int).tolist()


@contextmanager
def peak_memory(bound: int) -> Iterator[None]:
    """Check that Python and NumPy (Pillow's pixels are not seen) take no more than `bound` bytes at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < bound
    finally:
        tracemalloc.stop()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, kind: int, row: bytes, *chunks: bytes) -> bytes:
    """A PNG of equal rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress((b"\0" + row) * height))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + rows + chunk(b"IEND", b"")


# --- colour modes, as files


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encode(red("CMYK"), "JPEG"), RED, id="CMYK JPEG"),
        pytest.param(encode(red("CMYK"), "TIFF"), RED, id="CMYK TIFF"),
        pytest.param(encode(red("L"), "JPEG"), (80, 80, 80), id="grey JPEG"),
        pytest.param(encode(red().quantize(4), "PNG"), RED, id="palette PNG"),
        pytest.param(encode(red().quantize(4), "GIF"), RED, id="palette GIF"),
        pytest.param(png(8, 8, 16, 2, b"\xdc\xdc\x14\x14\x14\x14" * 8), RED, id="16-bit RGB PNG"),
        pytest.param(png(8, 8, 16, 0, b"\x50\x50" * 8), (80, 80, 80), id="16-bit grey PNG"),
        pytest.param(png(8, 8, 16, 4, b"\x50\x50\xff\xff" * 8), (80, 80, 80), id="16-bit grey and alpha PNG"),
        pytest.param(png(8, 8, 8, 4, b"\x50\0" * 8), (255, 255, 255), id="invisible grey and alpha PNG"),
        pytest.param(png(8, 8, 8, 6, bytes((*RED, 0)) * 8), (255, 255, 255), id="invisible RGBA PNG"),
        pytest.param(
            png(8, 8, 1, 3, b"\0", chunk(b"PLTE", bytes(RED) + bytes(3)), chunk(b"tRNS", b"\0")),
            (255, 255, 255),
            id="invisible palette PNG",
        ),
        pytest.param(encode(red("YCbCr"), "TIFF"), RED, id="YCbCr TIFF"),
        pytest.param(encode(Image.new("F", (8, 8), 1.0), "TIFF"), (255, 255, 255), id="float TIFF"),
    ],
)
def test_colour_modes_are_seen_as_people_see_them(data: bytes, expected: tuple[int, int, int]) -> None:
    np.testing.assert_allclose(colour(decode(data, LIMITS)), expected, atol=6)


def test_a_palette_that_is_too_short_is_no_way_out_of_memory() -> None:
    data = png(8, 8, 8, 3, bytes(range(200, 208)), chunk(b"PLTE", bytes(RED)))
    decoded = decode(data, LIMITS)
    assert decoded.frames[0].size == (8, 8)


# --- metadata


def greedy_exif(tags: int = 5000, size: int = 2_000_000) -> bytes:
    """Each of many tags claims the same two megabytes: 10 GB, if somebody read them all."""
    entries = b"".join(struct.pack("<HHII", 1000 + n, 7, size, 8) for n in range(tags))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", tags) + entries + bytes(size)


def jpeg_with_exif(exif: bytes) -> bytes:
    """EXIF that goes on over many segments."""
    data = encode(red(), "JPEG")
    parts = [exif[at : at + 65_000] for at in range(0, len(exif), 65_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part for part in parts)
    return data[:2] + segments + data[2:]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg_with_exif(greedy_exif()), id="JPEG"),
        pytest.param(png(8, 8, 8, 2, bytes(RED) * 8, chunk(b"eXIf", greedy_exif())), id="PNG"),
        pytest.param(encode(red(), "WEBP", exif=greedy_exif()), id="WebP"),
        pytest.param(encode(red(), "AVIF", exif=greedy_exif()), id="AVIF"),
    ],
)
def test_giant_exif_costs_no_more_than_its_bytes(data: bytes) -> None:
    with peak_memory(60_000_000):
        np.testing.assert_allclose(colour(decode(data, LIMITS)), RED, atol=30)


def test_a_tiff_of_greedy_tags_costs_no_more_than_its_bytes() -> None:
    with peak_memory(60_000_000), pytest.raises(ImageBroken):
        decode(greedy_exif(), LIMITS)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("profile", [b"", b"no profile", bytes(900_000)], ids=["empty", "short", "giant"])
def test_profiles_change_nothing(name: str, profile: bytes) -> None:
    if name == "AVIF" and profile == b"":
        pytest.skip("the encoder writes none")
    data = encode(red(), name, icc_profile=profile)
    np.testing.assert_allclose(colour(decode(data, LIMITS)), RED, atol=30)


def test_giant_xmp_is_passed_over() -> None:
    data = encode(red(), "WEBP", xmp=b"tiff:Orientation" * 500_000)
    np.testing.assert_allclose(colour(decode(data, LIMITS)), RED, atol=30)


# --- bombs of a few bytes


def webp(width: int, height: int) -> bytes:
    """An empty animation that says how large it is."""
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(webp(16_383, 16_383), id="WebP"),
        pytest.param(b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\0\0\0;", id="GIF"),
        pytest.param(png(60_000, 60_000, 1, 0, b"", b"")[:60], id="PNG"),
        pytest.param(encode(Image.new("1", (9_000, 9_000)), "TIFF", compression="group4"), id="TIFF"),
        pytest.param(encode(Image.new("1", (9_000, 9_000)), "PNG"), id="PNG of one bit"),
    ],
)
def test_few_bytes_that_claim_many_pixels(data: bytes) -> None:
    with peak_memory(20_000_000), pytest.raises((ImageTooLarge, ImageBroken)):
        decode(data, LIMITS)


# --- what it says it is, and what it is


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"PK\3\4" + bytes(200), id="zip"),
        pytest.param(b"%PDF-1.7\n1 0 obj", id="PDF"),
        pytest.param(b"<script>alert(1)</script>", id="HTML"),
        pytest.param(b"\x7fELF" + bytes(200), id="program"),
        pytest.param(encode(Image.new("RGB", (9, 9), "blue"), "PNG"), id="another image"),
    ],
)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP"])
def test_of_two_formats_in_one_file_the_first_is_judged_as_viewers_show_it(name: str, tail: bytes) -> None:
    decoded = decode(encode(red(), name) + tail, LIMITS)
    assert decoded.format == name.lower()
    assert len(decoded.frames) == 1
    np.testing.assert_allclose(colour(decoded), RED, atol=30)


def test_a_gif_that_is_also_a_script_is_a_gif() -> None:
    """`GIF89a/*...*/=1;alert(1)`: the width is the opening of a comment."""
    frame = b"," + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0"
    data = b"GIF89a/*" + struct.pack("<H", 8) + b"\xf0\0\0" + bytes(6) + frame + b";*/=1;alert(1)"
    assert decode(data, LIMITS).format == "gif"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"%PDF-1.7\n" + encode(red(), "JPEG"), "PDF", id="PDF before a JPEG"),
        pytest.param(b"PK\3\4" + encode(red(), "PNG"), "zip", id="zip before a PNG"),
        pytest.param(gzip.compress(b"<svg/>"), "gzip", id="svgz"),
        pytest.param(b"\xef\xbb\xbf<svg xmlns='x'/>", "SVG", id="SVG after a mark"),
        pytest.param(b"\n\n  <!-- a --><!DOCTYPE svg><svg/>", "SVG", id="SVG after a comment"),
        pytest.param(b"<?xml version='1.0'?><SVG/>", "SVG", id="SVG in capitals"),
        pytest.param("<svg/>".encode("utf-16"), "no known image", id="SVG in UTF-16"),
        pytest.param(b"<script>", "no known image", id="script"),
        pytest.param(b"push graphic-context\nviewbox 0 0 1 1", "no known image", id="MVG"),
        pytest.param(b"#!/bin/sh", "no known image", id="shell"),
        pytest.param(b"RIFF\0\0\0\0AVI ", "no known image", id="AVI"),
        pytest.param(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "HEIC", id="HEIC"),
    ],
)
def test_what_does_not_begin_as_an_image_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(NotAnImage, match=words):
        decode(data, LIMITS)


@pytest.mark.parametrize("name", ["JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO"])
@pytest.mark.parametrize("head", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a"])
def test_a_false_signature_leads_to_no_other_decoder(name: str, head: bytes) -> None:
    data = head + encode(red(), name)[len(head) :]
    try:
        decoded = decode(data, LIMITS)
    except (ImageBroken, ImageTooLarge):
        return
    assert decoded.format == {b"\x89": "png", b"\xff": "jpeg", b"G": "gif"}[head[:1]]
