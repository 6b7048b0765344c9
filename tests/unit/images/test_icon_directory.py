import pytest
from PIL import Image

from benchmarks.format_writers import encode, icon
from moderator.errors import ImageBroken
from moderator.images.decode import DecodeLimits, decode
from moderator.images.icon_directory import largest_entries

LIMITS = DecodeLimits(max_bytes=10**6, max_pixels=10**6, max_frames=4, timeout=10.0)


def png(colour: str, side: int = 32) -> bytes:
    return encode(Image.new("RGB", (side, side), colour), "PNG")


def colours(data: bytes) -> list[tuple[int, ...]]:
    return [image.getpixel((0, 0)) for image in decode(data, LIMITS).frames]  # type: ignore[misc]


def test_all_of_the_largest_are_judged_the_one_of_most_bits_first() -> None:
    data = icon([(png("red"), 8), (png("lime"), 32), (png("blue"), 24)], 32)
    assert colours(data) == [(0, 255, 0), (0, 0, 255), (255, 0, 0)]


def test_the_directory_may_lie_about_sizes() -> None:
    entries = largest_entries(icon([(png("red", 16), 32), (png("lime", 64), 8), (png("blue", 32), 8)], 32))
    assert [entry.pixels for entry in entries] == [16 * 16, 64 * 64, 32 * 32]


def test_of_too_many_the_rest_is_unseen() -> None:
    data = icon([(png(f"#0000{n:02x}"), 32) for n in range(0, 60, 10)], 32)
    coverage = decode(data, LIMITS).coverage
    assert (coverage.judged, coverage.total, coverage.unseen) == (4, 6, 2)


def test_an_empty_icon_is_broken() -> None:
    with pytest.raises(ImageBroken, match="holds no picture"):
        decode(icon([], 32), LIMITS)
