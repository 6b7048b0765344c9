"""Decode hostile bytes to RGB frames, within bounds.

Everything that Pillow raises becomes an error of `moderator.errors`. Pillow's global switches keep their
defaults: `MAX_IMAGE_PIXELS` and `MAX_TEXT_CHUNK` are a second net under the bounds here, and
`LOAD_TRUNCATED_IMAGES` stays off, because half a picture must not be judged as a whole one.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, UnidentifiedImageError

from moderator.errors import ImageBroken, ImageError, ImageTooLarge
from moderator.images.decode_budget import DecodeBudget
from moderator.images.formats import sniff
from moderator.images.frame_scan import take_frames
from moderator.images.open_source import PillowSource, open_source
from moderator.images.preflight import check_before_decoding
from moderator.images.renderings import MAX_RENDERINGS, Picture, Rendering, render
from moderator.printable import printable

if TYPE_CHECKING:  # a decoding process does not need it
    from moderator.settings import ImageSettings

#: Renderings of a frame of an animation, at most.
MAX_RENDERINGS_OF_FRAME = 3

# Pillow's warnings about odd files contain numbers from the file. Python remembers each distinct warning, so a
# stream of hostile files would fill the log and the memory of the process.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class DecodeLimits:
    """Bounds: bytes of the file, pixels (of a frame, and of all frames judged), frames judged, seconds."""

    max_bytes: int
    max_pixels: int
    max_frames: int
    timeout: float

    @classmethod
    def from_settings(cls, settings: "ImageSettings") -> "DecodeLimits":
        """Read the bounds from the settings."""
        return cls(settings.max_bytes, settings.max_pixels, settings.max_frames, settings.decode_timeout)

    @property
    def max_renderings(self) -> int:
        """Most images that a file is judged by."""
        return max(MAX_RENDERINGS, MAX_RENDERINGS_OF_FRAME * self.max_frames)


@dataclass(frozen=True)
class Coverage:
    """How much of a file is judged."""

    judged: int = 1
    """Frames of which renderings are judged."""
    total: int = 1
    """Frames of the file, pages of a TIFF, or pictures of an icon among which viewers choose."""
    unseen: int = 0
    """Frames that were not reached, or are unlike every frame judged: an image with any is not allowed."""
    truncated: bool = False
    """Whether the file ends too early or is damaged, so that only what is there is judged."""


@dataclass(frozen=True)
class DecodedImage:
    """The size of the file's picture (upright), and the images to judge (mode RGB, upright)."""

    width: int
    height: int
    format: str
    """In lower case: jpeg, png, ..."""
    frames: list[Image.Image]
    """Renderings of the frames chosen, in order; first the file's first frame, as a browser shows it on white."""
    renderings: tuple[Rendering, ...] = ()
    """Which frame each of `frames` shows, and how."""
    coverage: Coverage = Coverage()


def decode(data: bytes, limits: DecodeLimits, draft_to: int | None = None) -> DecodedImage:
    """Decode an image, or frames of an animation or pages of a TIFF that the others resemble.

    Each frame is given in the ways in which viewers show it, without repetitions. Thread-safe. The time is checked
    between frames: a single frame is decoded in C and cannot be interrupted, so the bounds on pixels and bytes have to
    keep it short.

    Args:
        data: the file.
        limits: bounds on what is decoded.
        draft_to: side of the model's input, in pixels. A large JPEG is decoded at a half, a quarter or an eighth of
            its size, so that its shorter side stays at least twice as long as this. The returned width and height
            are still the file's.

    Raises:
        NotAnImage: not one of the accepted formats.
        ImageTooLarge: more bytes, pixels or metadata than allowed.
        ImageBroken: damaged, or too little of it is there.
        DecodeTimeout: decoding takes longer than allowed.
    """
    check_length(data, limits)
    name = sniff(data)
    check_before_decoding(data, name, limits.max_pixels)
    budget = DecodeBudget(limits.max_pixels, limits.timeout)
    with _typed_errors(name):
        source = open_source(data, name, budget, draft_to)
        taken = take_frames(source, limits.max_frames, budget)
        frames, renderings = _render(taken.pictures, limits.max_renderings, name)
        size = frames[0].size
        if isinstance(source, PillowSource) and source.drafted:
            metadata = taken.pictures[0][1].metadata
            sideways = metadata.turned and metadata.orientation >= 5
            size = (source.size[1], source.size[0]) if sideways else source.size
    coverage = Coverage(len(taken.pictures), source.total, taken.unseen, source.truncated or taken.broken)
    return DecodedImage(*size, name.lower(), frames, renderings, coverage)


def _render(
    pictures: list[tuple[int, Picture]], most: int, format_name: str
) -> tuple[list[Image.Image], tuple[Rendering, ...]]:
    """Return the renderings of pictures, each image once."""
    animated = len(pictures) > 1 and format_name != "ICO"
    share = MAX_RENDERINGS_OF_FRAME if animated else most
    images: list[Image.Image] = []
    renderings: list[Rendering] = []
    for number, picture in pictures:
        # Nobody flattens an animation by dropping its transparency.
        named = render(picture, dropped_alpha=not animated)
        for (name, image), _ in zip(named, range(share), strict=False):
            if len(images) < most and not any(_same(image, other) for other in images):
                images.append(image)
                renderings.append(Rendering(number, name))
    return images, tuple(renderings)


def _same(image: Image.Image, other: Image.Image) -> bool:
    # The corner is compared first, because it mostly differs.
    if image.size != other.size or image.getpixel((0, 0)) != other.getpixel((0, 0)):
        return False
    return ImageChops.difference(image, other).getbbox() is None


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
