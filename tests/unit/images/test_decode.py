import io
import random
import struct
import threading
import zlib
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moderator.errors import DecodeTimeout, ImageBroken, ImageError, ImageTooLarge, NotAnImage
from moderator.images import decode as module
from moderator.images.decode import Coverage, DecodedImage, DecodeLimits, decode
from moderator.images.decode_budget import DecodeBudget

LIMITS = DecodeLimits(max_bytes=5_000_000, max_pixels=4_000_000, max_frames=4, timeout=10.0)
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "ICO")
# pytest resets the filter that the module sets.
pytestmark = pytest.mark.filterwarnings(
    *(f"ignore:::PIL.{m}" for m in ("Image", "TiffImagePlugin", "IcoImagePlugin"))
)
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")


def encode(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def picture(width: int = 64, height: int = 48) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", (width, height), (220, 20, 20))
    image.paste((20, 20, 220), (width // 2, 0, width, height))
    return image


@cache
def animation(name: str, count: int, size: int = 32) -> bytes:
    """The n-th frame has the brightness 10 n (modulo 250); a moving dot keeps encoders from merging frames."""
    frames = []
    for n in range(count):
        frame = Image.new("RGB", (size, size), (10 * n % 250,) * 3)
        frame.putpixel((n % size, n // size % size), (255, 0, 0))
        frames.append(frame)
    options = {"lossless": True} if name == "WEBP" else {}
    return encode(frames[0], name, save_all=True, append_images=frames[1:], **options)


def levels(decoded: DecodedImage) -> list[int]:
    return [int(np.median(np.asarray(frame))) for frame in decoded.frames]


# --- formats


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_rgb_and_facts(name: str) -> None:
    data = encode(picture(), name)
    decoded = decode(data, LIMITS)
    (frame,) = decoded.frames
    assert frame.mode == "RGB"
    pixels = np.asarray(frame).astype(int)
    assert np.abs(pixels[2, 2] - (220, 20, 20)).max() < 40
    assert np.abs(pixels[-3, -3] - (20, 20, 220)).max() < 40
    assert (decoded.width, decoded.height) == frame.size
    assert decoded.format == name.lower()


def test_a_jpeg_with_further_pictures_is_a_jpeg() -> None:
    data = encode(picture(), "MPO", save_all=True, append_images=[picture()])
    decoded = decode(data, LIMITS)
    assert (decoded.format, len(decoded.frames)) == ("jpeg", 1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello", "no known image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<svg/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "EPS"),
        (b"8BPS\0\1", "PSD"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", "video"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"P6 1 1 255 abc", "no known image"),
        (encode(picture(), "TGA"), "no known image"),
    ],
)
def test_other_content_is_named(data: bytes, words: str) -> None:
    with pytest.raises(NotAnImage, match=words) as caught:
        decode(data, LIMITS)
    assert "accepted are JPEG" in str(caught.value)


# --- size, orientation, draft


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_or_both_are_judged(name: str, orientation: int) -> None:
    upright = Image.new("RGB", (96, 64), "white")
    upright.paste("black", (0, 0, 48, 32))  # the top left quarter
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that the orientation reverts
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encode(stored, name, exif=exif), LIMITS)
    assert (decoded.width, decoded.height) == decoded.frames[0].size
    differ = name in ("PNG", "WEBP") and orientation > 1
    expected = [stored, upright] if differ else [upright]
    for frame, image in zip(decoded.frames, expected, strict=True):
        np.testing.assert_allclose(np.asarray(frame), np.asarray(image), atol=40)


def test_draft_decodes_smaller_and_reports_the_size_of_the_file() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(picture(1600, 1000), "JPEG", exif=exif)
    decoded = decode(data, LIMITS, draft_to=100)
    assert decoded.frames[0].size == (250, 400)
    assert (decoded.width, decoded.height) == (1000, 1600)
    full = decode(data, LIMITS)
    assert full.frames[0].size == (1000, 1600)
    assert (full.width, full.height) == (decoded.width, decoded.height)


@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_draft_never_goes_below_twice_the_target(width: int, height: int, target: int) -> None:
    decoded = decode(encode(Image.new("RGB", (width, height)), "JPEG"), LIMITS, draft_to=target)
    assert min(decoded.frames[0].size) >= min(2 * target, width, height)
    assert (decoded.width, decoded.height) == (width, height)


# --- animations


@pytest.mark.parametrize("name", ANIMATED)
@pytest.mark.parametrize("count", [2, 4, 10])
def test_every_frame_resembles_one_that_is_judged(name: str, count: int) -> None:
    decoded = decode(animation(name, count), LIMITS)
    judged = levels(decoded)
    assert (judged[0], judged[-1]) == pytest.approx((0, 10 * (count - 1)), abs=6)
    assert len(judged) == min(count, 4)
    assert all(min(abs(10 * n - level) for level in judged) <= 26 for n in range(count))
    assert decoded.coverage == Coverage(judged=min(count, 4), total=count)


@pytest.mark.parametrize("name", ANIMATED)
def test_one_frame_is_the_first(name: str) -> None:
    decoded = decode(animation(name, 10), replace(LIMITS, max_frames=1))
    assert levels(decoded) == [0]
    assert decoded.coverage == Coverage(judged=1, total=10, unseen=9)


@pytest.mark.parametrize("name", ["GIF", "TIFF"])
def test_frames_beyond_the_bound_are_unseen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DecodeBudget, "frames_max", 7)
    coverage = decode(animation(name, 20), LIMITS).coverage
    assert (coverage.total, coverage.unseen) == (7, 1)


@pytest.mark.parametrize("name", ANIMATED)
def test_frames_for_which_there_is_no_time_are_unseen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([True] * 5)
    monkeypatch.setattr(DecodeBudget, "may_scan", property(lambda budget: next(times, False)))
    decoded = decode(animation(name, 20), LIMITS)
    assert levels(decoded)[-1] == pytest.approx(50, abs=6)
    assert decoded.coverage == Coverage(judged=4, total=20, unseen=14)


@pytest.mark.parametrize("name", ANIMATED)
def test_of_large_frames_fewer_are_judged(name: str) -> None:
    decoded = decode(animation(name, 10), replace(LIMITS, max_pixels=4 * 32 * 32 - 1))
    assert (len(decoded.frames), decoded.coverage.judged) == (3, 3)


@pytest.mark.parametrize("name", ANIMATED)
def test_time_is_checked_between_frames(name: str) -> None:
    with pytest.raises(DecodeTimeout, match="MODERATOR_DECODE_TIMEOUT"):
        decode(animation(name, 10), replace(LIMITS, timeout=0.0))


def test_a_later_page_may_not_be_larger_than_allowed() -> None:
    data = encode(Image.new("L", (10, 10)), "TIFF", save_all=True, append_images=[Image.new("L", (900, 900))])
    assert [f.size for f in decode(data, LIMITS).frames] == [(10, 10), (900, 900)]
    with pytest.raises(ImageTooLarge):
        decode(data, replace(LIMITS, max_pixels=100_000))


def test_a_gif_frame_outside_the_screen_draws_nothing() -> None:
    frame = b"," + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0"
    far = b"," + struct.pack("<HHHH", 3000, 3000, 1, 1) + b"\0\x02\x02\x44\x01\0"
    data = b"GIF89a" + struct.pack("<HH", 4, 4) + b"\xf0\0\0" + bytes(6) + frame + far + b";"
    decoded = decode(data, LIMITS)
    assert {image.size for image in decoded.frames} == {(4, 4)}
    assert decoded.coverage.total == 2


def test_a_gif_frame_may_not_be_larger_than_allowed() -> None:
    large = b"," + struct.pack("<HHHH", 0, 0, 3000, 3000) + b"\0\x02\x02\x44\x01\0"
    data = b"GIF89a" + struct.pack("<HH", 4, 4) + b"\xf0\0\0" + bytes(6) + large + b";"
    with pytest.raises(ImageTooLarge, match="3000 x 3000"):
        decode(data, LIMITS)


def test_of_a_png_that_announces_frames_it_lacks_the_others_are_judged() -> None:
    data = animation("PNG", 3)
    at = data.index(b"acTL")
    body = b"acTL" + struct.pack(">II", 2_000_000_000, 0)
    lying = data[:at] + body + struct.pack(">I", zlib.crc32(body)) + data[at + 16 :]
    assert decode(lying, LIMITS).coverage == Coverage(judged=3, total=3, truncated=True)


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP"])
def test_frames_after_a_broken_one_are_unseen(name: str) -> None:
    data = animation(name, 6)
    decoded = (
        decode(data[: len(data) * 3 // 5], LIMITS) if name == "GIF" else decode(spoilt(data, name), LIMITS)
    )
    assert decoded.coverage.truncated
    assert decoded.coverage.unseen > 0
    assert levels(decoded)[0] == pytest.approx(0, abs=6)


def spoilt(data: bytes, name: str) -> bytes:
    """The data of the last frame overwritten."""
    start = data.rindex({"PNG": b"fdAT", "WEBP": b"VP8L"}[name]) + 14
    return data[:start] + b"\xff" * 9 + data[start + 9 :]


# --- bombs


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, size: tuple[int, int] = (10, 10)) -> bytes:
    rows = zlib.compress(b"\0" * 110)
    header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunks)
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def jpeg_with(segments: bytes) -> bytes:
    data = encode(picture(), "JPEG")
    return data[:2] + segments + data[2:]


def jpeg_with_scans(count: int) -> bytes:
    return encode(picture(), "JPEG")[:-2] + b"\xff\xda\0\2" * count + b"\xff\xd9"


def icon(width: int, height: int) -> bytes:
    inner = png(size=(width, height))
    return b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


def run_length_bmp(side: int) -> bytes:
    header = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 54 + 1024)
    header += struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    return header + bytes(1024) + b"\0\1"


def tiff_with_strips(count: int) -> bytes:
    tags = [(256, 1, 9), (257, 1, 9), (258, 1, 8), (262, 1, 1), (273, count, 200), (278, 1, 1), (279, 1, 9)]
    entries = b"".join(struct.pack("<HHII", tag, 4, number, value) for tag, number, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)).ljust(200, b"\0") + bytes(
        4 * count
    )


HUGE_TEXT = zlib.compress(bytes(5_000_000))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(bytes(LIMITS.max_bytes + 1), "MODERATOR_MAX_BYTES", id="bytes"),
        pytest.param(encode(Image.new("1", (2001, 2000)), "PNG"), "MODERATOR_MAX_PIXELS", id="pixels"),
        pytest.param(png(size=(60_000, 60_000)), "memory", id="pixels beyond Pillow's own limit"),
        pytest.param(png(chunk(b"zTXt", b"a\0\0" + HUGE_TEXT)), "metadata", id="png text"),
        pytest.param(
            png(chunk(b"iTXt", b"a\0\1\0\0\0" + HUGE_TEXT)), "metadata", id="png international text"
        ),
        pytest.param(png(chunk(b"iCCP", b"a\0\0" + HUGE_TEXT)), "metadata", id="png profile"),
        pytest.param(png(chunk(b"abCd", b"") * 110_000), "chunks", id="png chunks"),
        pytest.param(jpeg_with(b"\xff\xe5\0\2" * 20_000), "segments", id="jpeg segments"),
        pytest.param(jpeg_with(b"\xff" * 20_000), "segments", id="jpeg fill bytes"),
        pytest.param(jpeg_with_scans(101), "scans", id="jpeg scans"),
        pytest.param(
            b"GIF89a" + bytes(7) + b"!\xfe" + b"\1a" * 1_100_000 + b"\0;", "blocks", id="gif comment blocks"
        ),
        pytest.param(b"GIF89a" + bytes(7) + b"\x99" * 1_100_000, "blocks", id="gif junk"),
        pytest.param(icon(3000, 3000), "icon", id="picture inside an icon"),
        pytest.param(run_length_bmp(2000 + 1), "MODERATOR_MAX_PIXELS", id="bmp"),
        pytest.param(tiff_with_strips(200_000), "strips", id="tiff strips"),
    ],
)
def test_bombs_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ImageTooLarge, match=words):
        decode(data, LIMITS)


def test_what_pillow_decodes_in_python_is_bounded_more_tightly() -> None:
    with pytest.raises(ImageTooLarge, match="bmp_rle"):
        decode(run_length_bmp(2001), replace(LIMITS, max_pixels=10**8))


def test_a_tiff_whose_pages_form_a_loop_ends() -> None:
    data = bytearray(encode(Image.new("L", (9, 9)), "TIFF"))
    (page,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, page)
    struct.pack_into("<I", data, page + 2 + 12 * count, page)
    with pytest.raises(ImageError):
        decode(bytes(data), LIMITS)


# --- damage


@pytest.mark.parametrize("name", ["TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_truncated_files_of_which_browsers_show_nothing_are_broken(name: str, keep: float) -> None:
    rng = np.random.default_rng(0)
    data = encode(Image.fromarray(rng.integers(0, 256, (90, 90, 3), dtype=np.uint8)), name)
    with pytest.raises(ImageBroken):
        decode(data[: int(len(data) * keep)], LIMITS)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("name", ["PNG", "GIF", "BMP", "ICO"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_of_other_truncated_files_what_is_there_is_judged(name: str, keep: float, interlaced: bool) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(1, 256, (96, 96, 3), dtype=np.uint8)).convert(
        "L" if name == "GIF" else "RGB"
    )
    options = {"interlace": interlaced} if name == "GIF" else {"sizes": [(96, 96)]} if name == "ICO" else {}
    data = encode(picture, name, **options)
    decoded = decode(data[: int(len(data) * keep)], LIMITS)
    assert decoded.coverage.truncated
    shown = np.asarray(decoded.frames[0])
    there = (shown == np.asarray(picture.convert("RGB"))).all(axis=(1, 2))
    assert keep - 0.2 < there.mean() < keep + 0.1
    if not (interlaced and name == "GIF"):
        assert (shown[~there][1:-1] == 255).all(), "the rest is transparent, so white on white"


@pytest.mark.parametrize(
    "head", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"\0\0\1\0"]
)
def test_a_signature_alone_is_broken(head: bytes) -> None:
    for tail in (b"", b"\0" * 40, b"\xff" * 40):
        with pytest.raises(ImageError):
            decode(head + tail, LIMITS)


def test_damaged_exif_does_not_lose_the_picture() -> None:
    data = encode(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 30)
    assert decode(data, LIMITS).width == 64


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError(), KeyError("x"), OverflowError(), EOFError()]
)
def test_whatever_pillow_raises_is_typed(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(module.Image, "open", fail)
    with pytest.raises(ImageError):
        decode(encode(picture(), "PNG"), LIMITS)


@cache
def seeds() -> list[bytes]:
    singles = [encode(picture(24, 16), name) for name in FORMATS]
    modes = [encode(picture(24, 16).convert(mode), "PNG") for mode in ("1", "L", "P", "LA", "RGBA", "I;16")]
    tiffs = [
        encode(picture(24, 16), "TIFF", compression=c) for c in ("tiff_lzw", "jpeg", "tiff_adobe_deflate")
    ]
    progressive = encode(
        picture(24, 16), "JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"
    )
    return [
        *singles,
        *modes,
        *tiffs,
        progressive,
        *(animation(name, 5, 8) for name in ANIMATED),
        icon(10, 10),
    ]


def decodes_or_is_typed(data: bytes) -> None:
    try:
        decoded = decode(data, replace(LIMITS, max_pixels=100_000), draft_to=8)
    except ImageError:
        return
    assert isinstance(decoded, DecodedImage)
    assert 1 <= decoded.coverage.judged <= LIMITS.max_frames
    assert len(decoded.renderings) == len(decoded.frames) <= LIMITS.max_renderings
    assert all(frame.mode == "RGB" for frame in decoded.frames)


@given(st.binary(max_size=200), st.sampled_from([b"", *(seed[:12] for seed in seeds())]))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_decode_or_are_typed(data: bytes, head: bytes) -> None:
    decodes_or_is_typed(head + data)


@given(st.randoms(use_true_random=False), st.sampled_from(range(len(seeds()))), st.integers(1, 12))
@settings(max_examples=500, deadline=None)
def test_mutated_images_decode_or_are_typed(rng: random.Random, seed: int, edits: int) -> None:
    data = bytearray(seeds()[seed])
    for _ in range(edits):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at : at + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
            case 2:
                del data[at : at + rng.randrange(1, 9)]
            case _:
                data[at:at] = data[at : at + rng.randrange(1, 30)]
        if not data:
            return
    decodes_or_is_typed(bytes(data))


# --- threads


def test_threads_decode_side_by_side() -> None:
    cases = [
        (data, decode(data, LIMITS)) for data in (*seeds()[:8], animation("GIF", 10), animation("PNG", 10))
    ]
    failures: list[object] = []

    def work() -> None:
        for _ in range(5):
            for data, expected in cases:
                got = decode(data, LIMITS)
                same = all(
                    a.tobytes() == b.tobytes() for a, b in zip(got.frames, expected.frames, strict=True)
                )
                if (got.width, got.height) != (expected.width, expected.height) or not same:
                    failures.append(got.format)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
