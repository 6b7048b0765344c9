"""The seeds: tiny images of each accepted format and of its variants, in `tests/fuzz/seeds`.

python -m tests.fuzz.seeds    writes them anew (the encoders of another Pillow may write other bytes)
"""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageDraw

from benchmarks.format_writers import (
    GREY,
    PALETTE,
    RGB,
    BareFrame,
    announcement,
    apng,
    gif,
    icon,
    png,
    png_data,
    png_header,
    with_clean_aperture,
)
from moderator.images.png_chunks import make_chunk

FOLDER = Path(__file__).parent / "seeds"


@cache
def load_seeds() -> dict[str, bytes]:
    """Name to file, in the order of the names."""
    return {file.name: file.read_bytes() for file in sorted(FOLDER.iterdir())}


def picture(mode: str = "RGB", size: tuple[int, int] = (32, 24), turn: int = 0) -> Image.Image:
    """Something with edges, a gradient and noise."""
    width, height = size
    dice = random.Random(turn)
    image = Image.new("RGB", size)
    for y in range(height):
        for x in range(width):
            image.putpixel((x, y), (x * 255 // width, y * 255 // height, dice.randrange(40)))
    ImageDraw.Draw(image).ellipse((turn, 4, turn + 12, 16), fill=(230, 40, 30))
    if mode == "I;16":
        return image.convert("I").point(lambda value: value * 200).convert("I;16")
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(size))
    return image.convert(mode)


def _file(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def _frames(mode: str = "RGB", count: int = 3) -> dict[str, object]:
    return {
        "save_all": True,
        "append_images": [picture(mode, turn=4 * n + 4) for n in range(count - 1)],
        "duration": 50,
    }


def _exif(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:01 00:00:00"
    return exif.tobytes()


def _png(width: int, height: int, depth: int, colour: int, interlace: int, rows: bytes) -> bytes:
    """A PNG that Pillow does not write, from its filtered rows."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _interlaced_png() -> bytes:
    """8 x 8 grey, Adam7: the rows of each pass, each behind its filter type."""
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    rows = b"".join(
        b"\0" + bytes((x * 8 + y * 24) % 256 for x in range(left, 8, across))
        for left, top, across, down in passes
        for y in range(top, 8, down)
    )
    return _png(8, 8, 8, 0, 1, rows)


def _rle_bmp(depth: int) -> bytes:
    """8 x 4 pixels in runs, a literal and a jump (BI_RLE8 or BI_RLE4)."""
    palette = b"".join(bytes((n * 16 % 256, 255 - n * 16 % 256, n, 0)) for n in range(1 << depth))
    pixels = b"\x08\x01\0\0\x04\x02\x04\x03\0\0\0\x04\1\2\3\4\x04\5\0\0\0\2\2\0\x06\7\0\1"
    offset = 54 + len(palette)
    compression = 1 if depth == 8 else 2
    info = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, depth, compression, len(pixels), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + info + palette + pixels


def _with_unusual_transparency() -> Iterator[tuple[str, bytes]]:
    """Transparency where only browsers look for it."""
    grey = np.asarray(picture("L", (16, 12)))
    colours = np.asarray(picture(size=(16, 12))).astype(np.uint16) * 257
    indices = grey // 64
    palette, clear = make_chunk(b"PLTE", bytes(range(12))), make_chunk(b"tRNS", bytes(4))
    data = make_chunk(b"IDAT", png_data(indices))
    yield "misplaced.png", png(png_header(16, 12, 8, PALETTE), clear, palette, data, clear)
    key, gamma = make_chunk(b"tRNS", b"\0\3"), make_chunk(b"gAMA", struct.pack(">I", 2000))
    data = make_chunk(b"IDAT", png_data(grey // 16, 4))
    yield "key-4.png", png(png_header(16, 12, 4, GREY), gamma, key, data)
    key, data = make_chunk(b"tRNS", bytes(6)), make_chunk(b"IDAT", png_data(colours, 16))
    yield "key-16.png", png(png_header(16, 12, 16, RGB), key, data)
    lossless = bytearray(_file(picture("RGBA", (16, 12)), "WEBP", lossless=True, exact=True))
    lossless[lossless.index(b"VP8L") + 12] &= ~0x10
    yield "alpha-denied.webp", bytes(lossless)
    header = struct.pack("<IiiHHIIiiII", 108, 16, 12, 1, 32, 0, 0, 0, 0, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
    pixels = picture("RGBA", (16, 12)).tobytes()
    yield "alpha-mask.bmp", struct.pack("<2sIHHI", b"BM", 0, 0, 0, 122) + header + pixels
    first, second = (_file(picture("RGBA", (16, 16), turn), "PNG") for turn in (0, 4))
    yield "several.ico", icon([(first, 8), (second, 32)], 16)


def _with_boxes() -> Iterator[tuple[str, bytes]]:
    """Animations whose frames are boxes on a canvas, and a crop."""
    grey, rgba = np.asarray(picture("L", (16, 12))), np.asarray(picture("RGBA", (16, 12)))
    boxes = [BareFrame(grey // 8), BareFrame(grey[:5, :7] // 8, 3, 20, 60, 3, transparent=4), b"\x99"]
    boxes += [BareFrame(grey[:3, :3] // 8, 12, 10, 20, 2, palette=bytes(range(96)))]
    yield "boxes.gif", gif((16, 12), boxes, bytes(range(96)))
    frames = [
        BareFrame(rgba, disposal=2),
        BareFrame(rgba[:5, :7], 3, 4, 60, 1, 1),
        BareFrame(rgba[:2, :2], blend=1),
    ]
    yield "boxes.png", apng((16, 12), frames, announcement(3) * 2)
    crop = (8, 1, 6, 1, -8, 2, -6, 2)
    yield "aperture.avif", with_clean_aperture(_file(picture(size=(16, 12)), "AVIF", quality=40), crop)


def make_seeds() -> Iterator[tuple[str, bytes]]:
    """Name and file of each seed."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "baseline.jpg", _file(picture(), "JPEG", quality=60)
    yield "progressive.jpg", _file(picture(), "JPEG", quality=60, progressive=True)
    yield "grey-restarts.jpg", _file(picture("L"), "JPEG", quality=60, restart_marker_rows=1)
    yield "cmyk.jpg", _file(picture("CMYK"), "JPEG", quality=40)
    yield (
        "exif-icc.jpg",
        _file(picture(), "JPEG", quality=50, exif=_exif(), icc_profile=profile, subsampling=0),
    )
    yield "several.jpg", _file(picture(), "MPO", save_all=True, append_images=[picture(turn=8)])
    yield "large.jpg", _file(picture(size=(200, 120)), "JPEG", quality=20)
    yield "rgb.png", _file(picture(), "PNG")
    yield "rgba-exif.png", _file(picture("RGBA"), "PNG", exif=_exif(3))
    yield "palette.png", _file(picture("P"), "PNG", transparency=3)
    yield "icc.png", _file(picture(size=(8, 8)), "PNG", icc_profile=profile)
    yield "grey-16.png", _file(picture("I;16"), "PNG")
    yield "bilevel.png", _file(picture("1"), "PNG")
    yield "grey-alpha.png", _file(picture("LA"), "PNG")
    yield "interlaced.png", _interlaced_png()
    yield "animated.png", _file(picture(), "PNG", **_frames(), disposal=1, blend=1)
    yield "still.gif", _file(picture("P", (16, 12)), "GIF", interlace=1)
    yield (
        "animated.gif",
        _file(picture(size=(16, 12)), "GIF", **_frames(), disposal=2, transparency=0, loop=0),
    )
    yield "lossy.webp", _file(picture(), "WEBP", quality=50)
    yield "lossless-exif.webp", _file(picture("RGBA"), "WEBP", lossless=True, exif=_exif(8))
    yield "alpha.webp", _file(picture("RGBA"), "WEBP", quality=40)
    yield "animated.webp", _file(picture("RGBA"), "WEBP", **_frames("RGBA"), quality=40)
    yield "plain.avif", _file(picture(), "AVIF", quality=40)
    yield "alpha-exif.avif", _file(picture("RGBA"), "AVIF", quality=40, subsampling="4:4:4", exif=_exif(5))
    yield "animated.avif", _file(picture(), "AVIF", **_frames(), quality=30)
    yield "true-colour.bmp", _file(picture(size=(16, 12)), "BMP")
    yield "palette.bmp", _file(picture("P", (16, 12)), "BMP")
    yield "bilevel.bmp", _file(picture("1"), "BMP")
    yield "rle-8.bmp", _rle_bmp(8)
    yield "rle-4.bmp", _rle_bmp(4)
    yield "raw.tif", _file(picture(size=(16, 12)), "TIFF")
    yield "lzw.tif", _file(picture(), "TIFF", compression="tiff_lzw")
    yield "deflate-alpha.tif", _file(picture("RGBA"), "TIFF", compression="tiff_adobe_deflate")
    yield "jpeg.tif", _file(picture(), "TIFF", compression="jpeg", quality=50)
    yield "packbits-palette.tif", _file(picture("P", (16, 12)), "TIFF", compression="packbits")
    yield "fax.tif", _file(picture("1"), "TIFF", compression="group4")
    yield "zstd-cmyk.tif", _file(picture("CMYK", (16, 12)), "TIFF", compression="zstd")
    yield "pages-turned.tif", _file(picture(size=(16, 12)), "TIFF", **_frames(), tiffinfo={0x0112: 7})
    yield "big.tif", _file(picture(size=(16, 12)), "TIFF", big_tiff=True)
    yield "grey-16.tif", _file(picture("I;16", (16, 12)), "TIFF")
    yield "png.ico", _file(picture("RGBA", (32, 32)), "ICO", sizes=[(16, 16), (32, 32)])
    yield from _with_unusual_transparency()
    yield from _with_boxes()
    yield "bmp.ico", _file(picture("RGBA", (16, 16)), "ICO", sizes=[(16, 16)], bitmap_format="bmp")


if __name__ == "__main__":
    for name, data in make_seeds():
        (FOLDER / name).write_bytes(data)
        print(f"{name:24} {len(data):6} bytes")
