"""The walk over a file's structure: what a decoder reads is bounded, and nothing else counts."""

import io
import random
import struct
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moderator.errors import ImageError, ImageTooLarge
from moderator.images.decode import DecodeLimits, decode
from moderator.images.formats import FORMATS
from moderator.images.gif_blocks import read_gif
from moderator.images.png_chunks import read_png
from moderator.images.preflight import (
    MAX_JPEG_SCANS,
    check_before_decoding,
)

LIMITS = DecodeLimits(max_bytes=26_000_000, max_pixels=4_000_000, max_frames=4, timeout=10.0)
END = b"\xff\xd9"
# pytest resets the filter that the decoder sets.
pytestmark = pytest.mark.filterwarnings(*(f"ignore:::PIL.{m}" for m in ("Image", "JpegImagePlugin")))


def encode(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def picture(size: tuple[int, int] = (40, 32)) -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def check(data: bytes, name: str = "JPEG") -> None:
    check_before_decoding(data, name, LIMITS.max_pixels)


def after_the_start(data: bytes, more: bytes) -> bytes:
    return data[:2] + more + data[2:]


#: What a phone appends: a video of seven megabytes, with everything in it that a walk could stumble over.
VIDEO = b"\0\0\0\x18ftypmp42" + random.Random(1).randbytes(6_000_000) + b"\xff\xda\0\2" * 250_000
#: And so short that it has no room for a hundred thousand of anything.
TRAILERS = {
    "video": VIDEO,
    "scans": b"\xff\xda" * 2000,
    "zeros": bytes(7_000_000),
    "fill": b"\xff" * 7_000_000,
}


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("name", FORMATS)
def test_what_follows_the_picture_changes_nothing(name: str, trailer: str) -> None:
    data = encode(picture(), name)
    plain, longer = (decode(file, LIMITS) for file in (data, data + TRAILERS[trailer]))
    assert (longer.width, longer.height, longer.format) == (plain.width, plain.height, plain.format)
    assert [frame.tobytes() for frame in longer.frames] == [frame.tobytes() for frame in plain.frames]


@pytest.mark.parametrize("trailer", TRAILERS)
def test_a_png_may_lack_its_last_chunk_and_be_followed_by_anything(trailer: str) -> None:
    data = encode(picture(), "PNG")
    assert decode(data[:-12] + TRAILERS[trailer], LIMITS).frames[0].tobytes() == picture().tobytes()


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "AVIF"])
def test_an_animation_with_a_trailer_keeps_its_frames(name: str) -> None:
    others = [Image.new("RGB", (40, 32), colour) for colour in ("red", "green")]
    data = encode(picture(), name, save_all=True, append_images=others)
    assert len(decode(data + VIDEO, LIMITS).frames) == 3


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
def test_further_pictures_of_a_file_do_not_count(progressive: bool) -> None:
    """A multi-picture file: 20 pictures with ten scans each, of which the first is looked at."""
    data = encode(picture(), "MPO", save_all=True, append_images=[picture()] * 20, progressive=progressive)
    if progressive:
        assert data.count(b"\xff\xda") > MAX_JPEG_SCANS
    decoded = decode(data, LIMITS)
    assert (decoded.format, len(decoded.frames)) == ("jpeg", 1)
    assert decode(data + VIDEO, LIMITS).frames[0].tobytes() == decoded.frames[0].tobytes()


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(segment(0xE1, b"Exif\0\0" + b"\xff\xda" * 30_000), id="EXIF"),
        pytest.param(segment(0xED, b"Photoshop 3.0\0" + b"\xff\xda" * 30_000), id="Photoshop"),
        pytest.param(segment(0xE2, b"ICC_PROFILE\0\1\1" + b"\xff\xda" * 30_000), id="profile"),
        pytest.param(segment(0xFE, END + b"\xff\xda" * 30_000), id="comment"),
    ],
)
def test_scans_within_metadata_do_not_count(metadata: bytes) -> None:
    data = encode(picture(), "JPEG", progressive=True)
    expected = decode(data, LIMITS).frames[0].tobytes()
    assert decode(after_the_start(data, metadata), LIMITS).frames[0].tobytes() == expected
    between = data.rindex(b"\xff\xda")  # before the last scan
    assert decode(data[:between] + metadata + data[between:], LIMITS).frames[0].tobytes() == expected


def test_a_thumbnail_does_not_count() -> None:
    """A progressive thumbnail in the EXIF of a progressive picture, both with as many scans as are allowed."""
    thumbnail = with_scans(MAX_JPEG_SCANS, size=(8, 8))
    data = with_scans(MAX_JPEG_SCANS)
    exif = segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + thumbnail)
    assert decode(after_the_start(data, exif), LIMITS).frames[0].size == (40, 32)


def with_scans(count: int, size: tuple[int, int] = (40, 32)) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encode(picture(size), "JPEG", progressive=True, quality=20)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (count - data.count(b"\xff\xda")) + END


def opens(data: bytes) -> bool:
    """Whether Pillow decodes it."""
    try:
        Image.open(io.BytesIO(data), formats=["JPEG"]).load()
    except OSError:
        return False
    return True


def hidden(data: bytes) -> dict[str, bytes]:
    """Files that hold the same picture; a decoder reads all of its scans in each."""
    end_in_comment = segment(0xFE, END)
    first, last = data.index(b"\xff\xda"), data.rindex(b"\xff\xda")
    return {
        "plain": data,
        "an end within a comment": after_the_start(data, end_in_comment),
        "an end within a comment between scans": data[:last] + end_in_comment + data[last:],
        "an end within metadata of no length": after_the_start(data, b"\xff\xe5\0\0" + end_in_comment),
        "tables before the picture": data[:2] + END + data,
        "tables twice": (data[:2] + END) * 2 + data,
        "an end as data": data[: last - 1] + b"\xff\0\xd9" + data[last - 1 :],
        "fill before scans": data[:first] + b"\xff" * 9 + data[first:last] + b"\xff" * 9 + data[last:],
        "junk between scans": data[:last] + b"junk\xff\0\xd0" + data[last:],
        "restarts between scans": data[:last] + b"\xff\xd0\xff\xd1" + data[last:],
        "a picture behind": data + data,
    }


@pytest.mark.parametrize("trick", hidden(with_scans(20)))
def test_no_scan_that_a_decoder_reads_is_hidden(trick: str) -> None:
    fair, bomb = (hidden(with_scans(count))[trick] for count in (MAX_JPEG_SCANS, MAX_JPEG_SCANS + 1))
    assert opens(fair)
    assert opens(bomb)
    check(fair)
    with pytest.raises(ImageTooLarge, match="scans"):
        check(bomb)


def test_a_bomb_without_an_end_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match="scans"):
        check(with_scans(MAX_JPEG_SCANS + 1)[:-2])


def test_segments_after_the_first_scan_are_bounded() -> None:
    data = encode(picture(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageTooLarge, match="segments"):
        check(data[:last] + b"\xff\xfe\0\2" * 10_001 + data[last:])


@pytest.mark.parametrize("junk", [b"\0", b"\xff\xd0", b"\xff\0"], ids=["zeros", "restarts", "data"])
def test_what_pillow_passes_over_byte_by_byte_is_bounded(junk: bytes) -> None:
    data = encode(picture(), "JPEG")
    start = data.index(b"\xff\xdb")
    some, much = (junk * (count // len(junk)) for count in (5_000, 1_000_002))
    assert decode(data[:start] + some + data[start:], LIMITS).format == "jpeg"
    for bomb in (data[:start] + much + data[start:], data[:start] + much):
        with pytest.raises(ImageTooLarge, match="segments"):
            check(bomb)


def test_an_icon_of_chunks_is_refused() -> None:
    """Its picture is a PNG, which Pillow reads chunk by chunk as any other."""
    icon = encode(picture((64, 64)), "ICO", sizes=[(64, 64)])
    start = icon.index(b"IHDR") + 21
    check(icon[:start] + chunk(b"abCd") * 90_000 + icon[start:], "ICO")
    with pytest.raises(ImageTooLarge, match="chunks"):
        check(icon[:start] + chunk(b"abCd") * 110_000 + icon[start:], "ICO")


def test_many_entries_of_an_icon_are_bounded_together() -> None:
    """60,000 entries share a PNG of 90,000 chunks: walked for each, that would take an hour."""
    inner = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0))
    inner += chunk(b"abCd") * 90_000
    entry = struct.pack("<BBBBHHII", 9, 9, 0, 0, 1, 32, len(inner), 6 + 16 * 60_000)
    started = time.process_time()
    with pytest.raises(ImageTooLarge, match="chunks"):
        check(b"\0\0\1\0" + struct.pack("<H", 60_000) + entry * 60_000 + inner, "ICO")
    assert time.process_time() - started < 2


SIGNATURES = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": b"GIF89a",
    "TIFF": b"II*\0",
    "ICO": b"\0\0\1\0",
}
JPEG_PIECES = [END, b"\xff\xd8", b"\xff\xda", b"\xff\xda\0\x0c", b"\xff\xd0", b"\xff\0", b"\xff\xfe\0\4"]
OTHER_PIECES = [chunk(b"IDAT"), chunk(b"IEND"), b"\0\0\0\1abcd", b"!\xfe\3abc\0", b",", b";", b"\1\0\0\0"]
#: What files are made of, and bytes around it.
PIECES = st.one_of(st.binary(max_size=20), st.sampled_from(JPEG_PIECES + OTHER_PIECES))


@pytest.mark.parametrize("name", SIGNATURES)
@given(pieces=st.lists(PIECES, max_size=30), times=st.sampled_from([1, 1, 1, 100]))
@settings(max_examples=150, deadline=2000)
def test_any_bytes_end_typed(name: str, pieces: list[bytes], times: int) -> None:
    data = SIGNATURES[name] + b"".join(pieces) * times
    with suppress(ImageError):
        check(data, name)
        if name == "GIF":
            read_gif(data, 100)
        if name == "PNG":
            read_png(data)


@given(
    cuts=st.lists(
        st.tuples(st.integers(2, 10**6), st.sampled_from([END, b"\xff\xd8", b"\xff\xda", b"\0"])), max_size=3
    ),
    trailer=st.binary(max_size=50),
)
@settings(max_examples=200, deadline=None)
def test_a_jpeg_with_a_trailer_is_decoded_as_without(cuts: list[tuple[int, bytes]], trailer: bytes) -> None:
    """Whatever was done to it: where a decoder finds the end of the picture, so does the walk."""
    data = encode(picture((16, 16)), "JPEG", progressive=True)
    for at, piece in cuts:
        data = data[: 2 + at % (len(data) - 2)] + piece + data[2 + at % (len(data) - 2) :]

    def outcome(file: bytes) -> object:
        try:
            return decode(file, LIMITS).frames[0].tobytes()
        except ImageError:
            return None

    before = outcome(data)
    if before is not None:
        assert outcome(data + trailer + b"\xff\xda" * 200) == before


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff",
        b"\xff\0",
        b"\xff\xd0",
        b"\xff\xfe\0\2",
        b"\0",
        b"\xff\xda",
        END,
        b"\xff\xfe\xff\xff",
        b"\0\0\0\0abcd",
    ],
)
@pytest.mark.parametrize("name", SIGNATURES)
def test_a_large_file_of_anything_takes_no_second(name: str, junk: bytes) -> None:
    data = encode(picture(), name)
    middle = data.index(b"\xff\xda") + 20 if name == "JPEG" else 60
    for file in (
        SIGNATURES[name] + junk * (25_000_000 // len(junk)),
        data[:middle] + junk * (25_000_000 // len(junk)),
    ):
        started = time.process_time()
        with suppress(ImageError):
            check(file, name)
        assert time.process_time() - started < 1
