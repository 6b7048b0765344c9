"""Decode hostile bytes to RGB frames, within bounds.

Everything that Pillow raises becomes an error of `moderator.errors`. Pillow's global switches keep their
defaults: `MAX_IMAGE_PIXELS` and `MAX_TEXT_CHUNK` are a second net under the bounds here, and
`LOAD_TRUNCATED_IMAGES` stays off, because half a picture must not be judged as a whole one.
"""

import io
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import ExifTags, Image, UnidentifiedImageError

from moderator.errors import DecodeTimeout, ImageBroken, ImageError, ImageTooLarge
from moderator.images.colour import to_rgb
from moderator.images.formats import sniff
from moderator.images.preflight import check_before_decoding, count_gif_frames
from moderator.printable import printable

if TYPE_CHECKING:  # a decoding process does not need it
    from moderator.settings import ImageSettings

#: An animation is decoded frame by frame up to the last one judged. These bound that work, in frames and in
#: multiples of `max_pixels`. Of a longer animation, only the part within these bounds is judged.
MAX_FRAMES_DECODED = 2_000
MAX_PIXELS_DECODED = 2

#: Pillow decodes run-length encoded BMPs in Python, thousands of times slower than other formats.
MAX_PIXELS_IN_PYTHON = 4_000_000

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow's warnings about odd files contain numbers from the file. Python remembers each distinct warning, so a
# stream of hostile files would fill the log and the memory of the process.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class DecodeLimits:
    """Bounds: bytes of the file, pixels (width x height x frames judged), frames judged, seconds."""

    max_bytes: int
    max_pixels: int
    max_frames: int
    timeout: float

    @classmethod
    def from_settings(cls, settings: "ImageSettings") -> "DecodeLimits":
        """Read the bounds from the settings."""
        return cls(settings.max_bytes, settings.max_pixels, settings.max_frames, settings.decode_timeout)


@dataclass(frozen=True)
class DecodedImage:
    """The size of the file's picture (upright), and the frames to judge (mode RGB, upright)."""

    width: int
    height: int
    format: str
    """In lower case: jpeg, png, ..."""
    frames: list[Image.Image]
    """In order; the first frame of the file comes first."""


def decode(data: bytes, limits: DecodeLimits, draft_to: int | None = None) -> DecodedImage:
    """Decode an image, or evenly spread frames of an animation or pages of a TIFF (first and last included).

    Thread-safe. The time is checked between frames: a single frame is decoded in C and cannot be interrupted, so
    the bounds on pixels and bytes have to keep it short.

    Args:
        data: the file.
        limits: bounds on what is decoded.
        draft_to: side of the model's input, in pixels. A large JPEG is decoded at a half, a quarter or an eighth of
            its size, so that its shorter side stays at least twice as long as this. The returned width and height
            are still the file's.

    Raises:
        NotAnImage: not one of the accepted formats.
        ImageTooLarge: more bytes, pixels or metadata than allowed.
        ImageBroken: truncated or damaged.
        DecodeTimeout: decoding takes longer than allowed.
    """
    check_length(data, limits)
    name = sniff(data)
    check_before_decoding(data, name, limits.max_pixels)
    deadline = time.monotonic() + limits.timeout
    with _typed_errors(name):
        gif_frames = count_gif_frames(data, MAX_FRAMES_DECODED) if name == "GIF" else 0
        image = Image.open(io.BytesIO(data), formats=[name])
        _check_size(image, limits.max_pixels)
        size = image.size
        drafted = draft_to is not None and image.draft("RGB", (2 * draft_to, 2 * draft_to)) is not None
        count = gif_frames or _count_frames(image, name, deadline)
        wanted = _spread(count, size, limits, name)
        frames = list(_decode_frames(image, name, wanted, limits.max_pixels, deadline))
        if not drafted:
            size = frames[0].size
        elif _orientation(image) >= 5:
            size = size[1], size[0]
    return DecodedImage(size[0], size[1], name.lower(), frames)


def draft_scale(size: tuple[int, int], draft_to: int) -> int:
    """Return the factor by which a JPEG of a size (width, height) is reduced for a side: 1, 2, 4 or 8."""
    fits = min(size) // (2 * draft_to)
    return next(scale for scale in (8, 4, 2, 1) if scale <= max(fits, 1))


def check_length(data: bytes, limits: DecodeLimits) -> None:
    """Refuse a file that has more bytes than allowed.

    Raises:
        ImageTooLarge: it has.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(
            f"the image has {len(data)} bytes, more than {limits.max_bytes} (MODERATOR_MAX_BYTES)"
        )


def _check_size(image: Image.Image, max_pixels: int, frames: int = 1) -> None:
    pixels = image.width * image.height * frames
    if pixels > max_pixels:
        times = f" x {frames} frames" if frames > 1 else ""
        raise ImageTooLarge(
            f"the image has {image.width} x {image.height}{times} pixels, more than {max_pixels} "
            "(MODERATOR_MAX_PIXELS)"
        )
    python_codecs = [
        tile.codec_name for tile in getattr(image, "tile", ()) if tile.codec_name in Image.DECODERS
    ]
    if python_codecs and pixels > MAX_PIXELS_IN_PYTHON:
        raise ImageTooLarge(
            f"the image has {pixels} pixels, and of its kind ({python_codecs[0]}) {MAX_PIXELS_IN_PYTHON} are "
            "accepted; save it uncompressed or as PNG"
        )


def _check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise DecodeTimeout("decoding takes longer than allowed (MODERATOR_DECODE_TIMEOUT)")


def _count_frames(image: Image.Image, name: str, deadline: float) -> int:
    if name == "TIFF":
        # Pages form a linked list; following it reads their tags and decodes nothing.
        pages = 1
        try:
            while pages < MAX_FRAMES_DECODED:
                _check_time(deadline)
                image.seek(pages)
                pages += 1
        except EOFError:
            pass
        image.seek(0)
        return pages
    # Nobody sees the additional pictures in a JPEG (depth maps, previews) or the other sizes of an icon.
    return int(getattr(image, "n_frames", 1)) if name in ("PNG", "WEBP", "AVIF") else 1


def _spread(count: int, size: tuple[int, int], limits: DecodeLimits, name: str) -> list[int]:
    """Choose at most `max_frames` frames, evenly spread from the first to the last within reach."""
    reach = min(count, MAX_FRAMES_DECODED)
    if name != "TIFF":
        reach = min(
            reach, max(limits.max_frames, MAX_PIXELS_DECODED * limits.max_pixels // (size[0] * size[1]))
        )
    chosen = min(reach, limits.max_frames)
    return [0] if chosen == 1 else [round(i * (reach - 1) / (chosen - 1)) for i in range(chosen)]


def _decode_frames(
    image: Image.Image, name: str, wanted: list[int], max_pixels: int, deadline: float
) -> Iterator[Image.Image]:
    _check_size(image, max_pixels, len(wanted))
    pixels = 0
    # A frame of an animation builds on the one before it; a page of a TIFF stands alone.
    for index in wanted if name == "TIFF" else range(wanted[-1] + 1):
        if index:
            _check_time(deadline)
            image.seek(index)
            _check_size(image, max_pixels)  # pages and GIF frames may be larger than the first
        if index not in wanted:
            image.load()
            continue
        pixels += image.width * image.height
        if pixels > max_pixels:
            raise ImageTooLarge(
                f"the frames have more than {max_pixels} pixels together (MODERATOR_MAX_PIXELS)"
            )
        image.load()
        frame = to_rgb(image)
        if (orientation := _orientation(image)) in _TRANSPOSE:
            frame = frame.transpose(_TRANSPOSE[orientation])
        # The next frame is drawn onto this one, so copy it.
        yield frame.copy() if frame is image and len(wanted) > 1 else frame


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a loaded image, 1 to 8. A TIFF is already upright: Pillow rotates it."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1  # viewers show a picture whose EXIF is damaged, and so do we
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextmanager
def _typed_errors(name: str) -> Iterator[None]:
    """Turn any exception that Pillow raises into an error of this project."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ImageTooLarge(f"the {name} needs more memory than allowed: {_brief(error)}") from error
    except UnidentifiedImageError as error:
        raise ImageBroken(f"the {name} has a damaged header") from error
    except EOFError as error:
        raise ImageBroken(f"the {name} announces more than it holds: {_brief(error)}") from error
    except Exception as error:
        if "MAX_TEXT" in str(error):
            raise ImageTooLarge(f"the {name} carries too much metadata; strip it") from error
        raise ImageBroken(f"the {name} cannot be decoded: {_brief(error)}") from error


def _brief(error: BaseException) -> str:
    """Shorten the library's message; it may quote the file, so only printable ASCII passes."""
    text = printable(str(error), ascii_only=True)
    return text[:160] or type(error).__name__
