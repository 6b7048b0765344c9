"""The protocol between a worker and its decoding processes.

A decoding process reads hostile bytes, so the worker treats it as compromised: nothing that it sends is unpickled,
evaluated or used unchecked. It answers with one struct of fixed size, and puts pixels into memory of fixed size. All
that it can still do is lie about the content of the images that it is given.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderator.errors import (
    DecodeTimeout,
    ImageBroken,
    ImageTooLarge,
    ModeratorError,
    NotAnImage,
    Unexpected,
)
from moderator.images.decode import Coverage, DecodeLimits
from moderator.images.formats import FORMATS
from moderator.images.prepare import PICTURE_PIXELS, PreparedImage, PreprocessSpec, max_views
from moderator.images.resize import Pixels, Resize
from moderator.printable import printable
from moderator.view import TURNS, VIEW_NAMES, View, ViewPlan, rows_of

#: Sent once by a process that has confined itself and can decode, by whether its system calls are filtered.
READY_LINES = {False: b"limited\n", True: b"sealed.\n"}
#: The number of the request, the length of the file in bytes, the shorter side that pictures for signals need, most
#: views of a picture, and whether to turn them. The file itself is in the shared memory.
REQUEST = struct.Struct("<QQII?")
#: Whether it is an image, the request's number, width, height, pictures, views, views left out, the coverage, format;
#: or the error's name and message.
_REPLY = struct.Struct("<?QIIIIIIII?8s32s512s")
#: A view: the numbers of its name, its turn and its frame, and its box.
_VIEW = struct.Struct("<BBxxIIIII")
VIEW_SIZE = _VIEW.size
REPLY_SIZE = _REPLY.size

#: Errors that a decoding process may report.
_ERRORS: dict[str, type[ModeratorError]] = {
    error.__name__: error for error in (DecodeTimeout, ImageBroken, ImageTooLarge, NotAnImage, Unexpected)
}
_FORMATS = {name.lower() for name in FORMATS}


class ReplyInvalid(ValueError):
    """A decoding process sent something that a healthy one never sends."""


@dataclass(frozen=True)
class MemoryLayout:
    """Offsets in the shared memory, in bytes: file, pixels, views, width and height of each picture, the pictures."""

    pixels_at: int
    views_at: int
    sizes_at: int
    pictures_at: int
    size: int

    @classmethod
    def of(cls, spec: PreprocessSpec) -> "MemoryLayout":
        """Make room for the largest file, the most views of the most pictures, and the largest pictures."""
        pictures = spec.limits.max_renderings
        views = min(pictures * spec.max_views, max_views(pictures))
        pixels_at = spec.limits.max_bytes
        views_at = pixels_at + views * spec.resize.crop**2 * 3
        sizes_at = views_at + views * VIEW_SIZE
        pictures_at = sizes_at + pictures * 8
        return cls(pixels_at, views_at, sizes_at, pictures_at, pictures_at + 3 * PICTURE_PIXELS)


@dataclass(frozen=True)
class Found:
    """A reply to an image: everything but the pixels and the views."""

    width: int
    height: int
    format: str
    pictures: int
    """Renderings of frames."""
    views: int
    left_out: int
    coverage: Coverage

    def with_pixels(
        self, pixels: Pixels, views: tuple[View, ...], pictures: tuple[Image.Image, ...]
    ) -> PreparedImage:
        """Return the image with its pixels, views and pictures."""
        size = self.width, self.height
        return PreparedImage(*size, self.format, pixels, views, self.left_out, pictures, self.coverage)


def dump_spec(spec: PreprocessSpec) -> str:
    """Return the spec as JSON."""
    return json.dumps(asdict(spec))


def load_spec(text: str) -> PreprocessSpec:
    """Read the output of `dump_spec`."""
    parts = json.loads(text)
    resize = parts["resize"]
    resample = Image.Resampling(resize.pop("resample"))
    return PreprocessSpec(
        DecodeLimits(**parts["limits"]),
        Resize(resample=resample, **resize),
        parts["draft"],
        parts["max_views"],
    )


def pack_image(number: int, image: PreparedImage) -> bytes:
    """Pack the reply to a file that was decoded."""
    pictures = sum(view.is_whole for view in image.views)
    counts = pictures, len(image.views), image.left_out
    coverage = image.coverage.judged, image.coverage.total, image.coverage.unseen, image.coverage.truncated
    name = image.format.encode()
    return _REPLY.pack(True, number, image.width, image.height, *counts, *coverage, name, b"", b"")


def pack_views(views: Sequence[View]) -> bytes:
    """Pack the views of a file that was decoded, `VIEW_SIZE` bytes each."""
    return b"".join(
        _VIEW.pack(VIEW_NAMES.index(view.name), TURNS.index(view.turn), view.frame, *view.box)
        for view in views
    )


def pack_error(number: int, error: Exception) -> bytes:
    """Pack the reply to a file that was not decoded."""
    name, message = type(error).__name__, str(error)
    if name not in _ERRORS:
        name, message = Unexpected.__name__, f"{name}: {message}"
    text = printable(message, ascii_only=True) or name
    return _REPLY.pack(False, number, *[0] * 8, False, b"", name.encode(), text.encode())


def parse_reply(reply: bytes, number: int, limits: DecodeLimits, plan: ViewPlan) -> Found | ModeratorError:
    """Parse and check a reply that may come from an attacker.

    Args:
        reply: `REPLY_SIZE` bytes.
        number: that of the request. A reply to another request must never pass for the reply to this one.
        limits: the bounds of the request; a valid reply keeps to them.
        plan: the views that were asked for.

    Raises:
        ReplyInvalid: the reply is not valid.
    """
    if len(reply) != REPLY_SIZE or reply[0] > 1:
        raise ReplyInvalid("not a reply")
    good, answered, width, height, pictures, views, left_out, *counts = _REPLY.unpack(reply)
    judged, total, unseen, truncated, *texts = counts
    if answered != number:
        raise ReplyInvalid("the answer to another request")
    format_name, error_name, message = (_text(raw) for raw in texts)
    if not good:
        if error_name not in _ERRORS or not message:
            raise ReplyInvalid("no error that decoding may end in")
        return _ERRORS[error_name](message)
    if format_name not in _FORMATS:
        raise ReplyInvalid("no format that is accepted")
    if not (1 <= pictures <= limits.max_renderings and 1 <= width * height <= limits.max_pixels):
        raise ReplyInvalid("more pictures or pixels than are allowed, or none")
    if not pictures <= views <= min(pictures * plan.most, max_views(pictures)):
        raise ReplyInvalid("more views than are allowed, or too few")
    if not (1 <= judged <= total and unseen <= total + 1):
        raise ReplyInvalid("numbers of frames that contradict each other")
    coverage = Coverage(judged, total, unseen, truncated)
    return Found(width, height, format_name, pictures, views, left_out, coverage)


def parse_views(data: bytes, found: Found, plan: ViewPlan, max_pixels: int) -> tuple[View, ...]:
    """Parse and check the views of an image, which may come from an attacker.

    Args:
        data: `VIEW_SIZE` bytes for each view.
        found: the reply, which says how many pictures and views there are.
        plan: the views that were asked for.
        max_pixels: bound on the size of a frame.

    Raises:
        ReplyInvalid: a view that a healthy process never makes.
    """
    views: list[View] = []
    for name, turn, frame, *box in _VIEW.iter_unpack(data):
        x, y, width, height = box
        if name >= len(VIEW_NAMES) or turn >= len(TURNS) or (turn and not plan.turned):
            raise ReplyInvalid("a view of no known kind")
        if max(x, y) >= max_pixels or not 1 <= width * height <= max_pixels:
            raise ReplyInvalid("a view outside the picture")
        if frame >= found.coverage.total:
            raise ReplyInvalid("a view of a frame that the file does not have")
        views.append(View(VIEW_NAMES[name], frame, (x, y, width, height), TURNS[turn]))
    if not views[0].is_whole or sum(view.is_whole for view in views) != found.pictures:
        raise ReplyInvalid("views of too few or too many pictures")
    # The pictures are in the order of their frames, and each begins with its whole.
    if any(b.frame < a.frame or (b.frame != a.frame and not b.is_whole) for a, b in pairwise(views)):
        raise ReplyInvalid("views in no order")
    if len(rows_of(plan, views)) != len(views):
        raise ReplyInvalid("more views of a picture than are allowed")
    return tuple(views)


def check_sizes(sizes: NDArray[np.uint32]) -> list[tuple[int, int]]:
    """Check and return width and height of each picture, uint32 [pictures, 2], which may come from an attacker.

    Raises:
        ReplyInvalid: an empty picture, or more pixels than there is room for.
    """
    found = [(int(width), int(height)) for width, height in sizes]
    if min(map(min, found)) < 1 or sum(width * height for width, height in found) > PICTURE_PIXELS:
        raise ReplyInvalid("pictures of impossible sizes")
    return found


def _text(raw: bytes) -> str:
    """Return the printable ASCII before the padding."""
    text = raw.rstrip(b"\0").decode("ascii", "replace")
    if not (text.isascii() and text.isprintable()):
        raise ReplyInvalid("text that is not printable ASCII")
    return text
