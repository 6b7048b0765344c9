"""Files in which people see one picture and a careless decoder another.

Each trick takes a photograph that must be seen and one of something else, both of `SIDE` pixels, and returns a file
with the picture that a browser shows for the longest time (on a white page, unless the trick says otherwise).
"""

import struct
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops

from benchmarks.format_writers import (
    GREY,
    PALETTE,
    RGB,
    decode,
    encode,
    icon,
    png,
    png_data,
    png_header,
    with_clean_aperture,
)
from moderator.images.png_chunks import make_chunk
from moderator.images.profiles import SRGB_CHROMATICITIES, make_profile

SIDE = 225
Trick = Callable[[Image.Image, Image.Image], tuple[bytes, Image.Image]]
TRICKS: dict[str, Trick] = {}
LONG_MILLISECONDS, SHORT_MILLISECONDS = 60_000, 20
_SIZE = (SIDE, SIDE)


def trick(make: Trick) -> Trick:
    """Register a trick under the name of its function."""
    TRICKS[make.__name__.replace("_", "-")] = make
    return make


def make_square(photograph: Image.Image) -> Image.Image:
    """Return the centre of a photograph in the size of the tricks."""
    side = min(photograph.size)
    left, top = (photograph.width - side) // 2, (photograph.height - side) // 2
    centre = photograph.convert("RGB").crop((left, top, left + side, top + side))
    return centre.resize(_SIZE, Image.Resampling.LANCZOS)


# --- transparency


def _indexed(photograph: Image.Image, colours: int = 64) -> tuple[np.ndarray, bytes]:
    image = photograph.quantize(colours, dither=Image.Dither.NONE)
    return np.asarray(image), bytes(image.getpalette("RGB") or ())


def _palette_png(photograph: Image.Image, *order: str) -> tuple[bytes, Image.Image]:
    indices, palette = _indexed(photograph)
    chunks = {
        "palette": make_chunk(b"PLTE", palette),
        "clear": make_chunk(b"tRNS", bytes(64)),
        "opaque": make_chunk(b"tRNS", b"\xff" * 64),
        "data": make_chunk(b"IDAT", png_data(indices)),
    }
    file = png(png_header(*_SIZE, 8, PALETTE), *(chunks[name] for name in order))
    return file, Image.fromarray(np.frombuffer(palette, np.uint8).reshape(-1, 3)[indices])


@trick
def transparency_before_palette(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    return _palette_png(photograph, "clear", "palette", "data")


@trick
def transparency_after_data(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    return _palette_png(photograph, "palette", "data", "clear")


@trick
def transparency_twice(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    return _palette_png(photograph, "palette", "opaque", "clear", "data")


def _keyed_grey(photograph: Image.Image, depth: int) -> tuple[bytes, Image.Image]:
    """White paper is the key, and black would be what a decoder sees that compares it wrongly."""
    most = (1 << depth) - 1
    image = photograph.convert("1" if depth == 1 else "L")
    samples = np.asarray(image).astype(np.uint32) * most // (1 if depth == 1 else 255)
    # The brightest pixels are stored as the key, which is black but for one bit: on white they are white again.
    key_sample = 1 if depth == 1 else 0
    bright = samples >= max(1, most * 2 // 3)
    stored = np.where(bright, key_sample, samples if depth == 1 else np.maximum(samples, 1))
    key = make_chunk(b"tRNS", struct.pack(">H", key_sample))
    file = png(png_header(*_SIZE, depth, GREY), key, make_chunk(b"IDAT", png_data(stored, depth)))
    shown = np.where(bright, 255, stored * 255 // most).astype(np.uint8)
    return file, Image.fromarray(shown).convert("RGB")


for _name, _depth in {"1-bit": 1, "2-bits": 2, "4-bits": 4, "16-bits": 16}.items():
    TRICKS[f"key-of-{_name}"] = lambda photograph, other, depth=_depth: _keyed_grey(photograph, depth)


@trick
def key_of_16_bit_colours(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """Bright pixels are the key; the others differ from it in the lower byte of one sample alone."""
    bright = np.asarray(photograph.convert("1"))
    samples = np.where(bright[..., None], [0, 0, 0], [0, 0, 1])
    key = make_chunk(b"tRNS", bytes(6))
    file = png(png_header(*_SIZE, 16, RGB), key, make_chunk(b"IDAT", png_data(samples, 16)))
    return file, photograph.convert("1").convert("RGB")


@trick
def white_with_alpha(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """On a black page, the alpha channel of a white picture shows."""
    grey = photograph.convert("L")
    image = Image.merge("RGBA", (Image.new("L", _SIZE, 255),) * 3 + (grey,))
    return encode(image, "PNG"), grey.convert("RGB")


@trick
def hidden_under_transparency(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """Browsers show nothing; whoever converts to JPEG shows the picture."""
    image = photograph.copy()
    image.putalpha(0)
    return encode(image, "PNG"), photograph


def _black_with_alpha(photograph: Image.Image) -> Image.Image:
    grey = photograph.convert("L")
    black = Image.new("L", _SIZE, 0)
    return Image.merge("RGBA", (black, black, black, ImageChops.invert(grey)))


@trick
def webp_alpha_denied(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    file = bytearray(encode(_black_with_alpha(photograph), "WEBP", lossless=True, exact=True))
    start = file.index(b"VP8L") + 8
    if b"VP8X" in file[:16]:  # a bare picture, so that nothing else speaks of alpha
        length = int.from_bytes(file[start - 4 : start], "little")
        picture = file[start - 8 : start + length + (length & 1)]
        file = bytearray(b"RIFF" + struct.pack("<I", len(picture) + 4) + b"WEBP") + picture
        start = 20
    file[start + 4] &= ~0x10
    return bytes(file), photograph.convert("L").convert("RGB")


@trick
def bmp_alpha_mask(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    rgba = np.asarray(_black_with_alpha(photograph))[::-1]
    header = struct.pack("<IiiHHIIiiII", 108, *_SIZE, 1, 32, 0, 0, 0, 0, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    pixels = rgba[..., [2, 1, 0, 3]].tobytes()
    file = struct.pack("<2sIHHI", b"BM", 14 + 108 + len(pixels), 0, 0, 14 + 108) + header + pixels
    return file, photograph.convert("L").convert("RGB")


@trick
def icon_without_alpha(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    bgra = np.dstack([np.asarray(photograph)[::-1, :, ::-1], np.zeros(_SIZE, np.uint8)])
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, 2 * SIDE, 1, 32, 0, 0, 0, 0, 0, 0)
    mask = bytes((SIDE + 31) // 32 * 4 * SIDE)
    return icon([(header + bgra.tobytes() + mask, 32)], SIDE), photograph


@trick
def icon_of_two(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """Of two pictures of one size, the one of more bits is shown."""
    return icon([(encode(other, "PNG"), 8), (encode(photograph, "PNG"), 32)], SIDE), photograph


# --- colour


#: Light of each sample of sRGB (IEC 61966-2-1).
_POSITIONS = np.linspace(0, 1, 256)
_SRGB_LIGHT = np.where(_POSITIONS <= 0.04045, _POSITIONS / 12.92, ((_POSITIONS + 0.055) / 1.055) ** 2.4)


Transform = Callable[[Image.Image], Image.Image]


def _squeezed(photograph: Image.Image) -> tuple[Image.Image, bytes, Transform]:
    """Store a picture in the brightest eighth of the range, with a profile that stretches it."""
    levels = np.clip((np.arange(256) - 224) * 255 / 31, 0, 255)
    light = np.interp(levels, np.arange(256), _SRGB_LIGHT)
    stored = photograph.point(lambda level: 224 + level * 31 // 255)
    return (
        stored,
        make_profile(light.tolist(), SRGB_CHROMATICITIES),
        lambda kept: kept.point(lambda level: max(0, (level - 224) * 255 // 31)),
    )


def _swapped(photograph: Image.Image) -> tuple[Image.Image, bytes, Transform]:
    """Exchange red and blue, with a profile that does so again."""
    white, red, green, blue = (SRGB_CHROMATICITIES[at : at + 2] for at in (0, 2, 4, 6))

    def swap(image: Image.Image) -> Image.Image:
        red_channel, green_channel, blue_channel = image.split()
        return Image.merge("RGB", (blue_channel, green_channel, red_channel))

    return swap(photograph), make_profile(_SRGB_LIGHT.tolist(), (*white, *blue, *green, *red)), swap


def _profiled(
    name: str, make: Callable[[Image.Image], tuple[Image.Image, bytes, Transform]], **options: object
) -> Trick:
    def profiled(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
        stored, profile, apply = make(photograph)
        file = encode(stored, name, icc_profile=profile, **options)
        return file, apply(decode(file))

    return profiled


for _name, _options in {
    "PNG": {},
    "JPEG": {"quality": 95},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95},
}.items():
    TRICKS[f"profile-stretches-{_name.lower()}"] = _profiled(_name, _squeezed, **_options)
    TRICKS[f"profile-swaps-{_name.lower()}"] = _profiled(_name, _swapped, **_options)


def _gamma(value: float) -> Trick:
    def with_gamma(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
        # What a browser makes of each stored level, the other way round: the nearest level for each level shown.
        light = (np.arange(256) / 255) ** (1 / value)
        shown = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        nearest = np.abs(shown[None] - np.arange(256)[:, None]).argmin(axis=1)
        stored = nearest.astype(np.uint8)[np.asarray(photograph)]
        gamma = make_chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))
        file = png(png_header(*_SIZE, 8, RGB), gamma, make_chunk(b"IDAT", png_data(stored)))
        return file, Image.fromarray(np.rint(shown).astype(np.uint8)[stored])

    return with_gamma


TRICKS["gamma-low"] = _gamma(0.01)
TRICKS["gamma-high"] = _gamma(3.5)


# --- area and orientation


@trick
def avif_clean_aperture(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """Shown is the top left quarter of a picture of something else."""
    whole = other.resize((2 * SIDE, 2 * SIDE))
    whole.paste(photograph)
    numbers = (SIDE, 1, SIDE, 1, -SIDE, 2, -SIDE, 2)
    file = encode(whole, "AVIF", quality=90)
    return with_clean_aperture(file, numbers), decode(file).crop((0, 0, SIDE, SIDE))


@trick
def xmp_orientation(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    packet += b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/>'
    packet += b"</rdf:RDF></x:xmpmeta>"
    file = encode(photograph, "JPEG", quality=95, xmp=packet)
    return file, decode(file)


@trick
def webp_orientation(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    exif = Image.Exif()
    exif[0x0112] = 3
    return encode(photograph, "WEBP", lossless=True, exif=exif), photograph


# --- broken and trailing bytes


@trick
def jpeg_truncated(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    file = encode(photograph, "JPEG", quality=95, progressive=True)
    file = file[: len(file) * 2 // 3]
    return file, decode(file + b"\xff\xd9")


@trick
def jpeg_without_end(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    file = encode(photograph, "JPEG", quality=95)
    return file.removesuffix(b"\xff\xd9"), decode(file)


@trick
def jpeg_with_video(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """A motion photo: a video follows the picture."""
    video = np.random.default_rng(0).integers(0, 256, 8_000_000, dtype=np.uint8).tobytes()
    file = encode(photograph, "JPEG", quality=95)
    return file + b"\0\0\0\x18ftypmp42" + video, decode(file)
