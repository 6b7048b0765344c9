"""Open a file as a source of frames, whatever its format: stills, animations, pages, the pictures of an icon."""

import io
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from PIL import Image, ImageChops

from moderator.errors import ImageBroken
from moderator.images.avif_boxes import crop_box, find_apertures
from moderator.images.colour import alpha_of, alpha_of_key, to_rgb
from moderator.images.composition import Patch, compose
from moderator.images.decode_budget import DecodeBudget
from moderator.images.gif_blocks import colour, lone_frame, read_gif
from moderator.images.hidden_alpha import alpha_of_bmp, show_alpha_of_webp
from moderator.images.icon_directory import IconEntry, largest_entries
from moderator.images.metadata import Metadata, read_metadata
from moderator.images.partial_jpeg import load_partially
from moderator.images.png_chunks import SHORT_SECONDS, SHORT_SHOWN_SECONDS, PngFrame, read_png
from moderator.images.renderings import Picture, picture_of

#: Frames that are looked for in a file.
MAX_FRAMES = 10_000

Frame = tuple[int, float, Image.Image]
"""Its number, the seconds that it is shown, and the loaded image, which the next frame may overwrite."""


class FrameSource(Protocol):
    """The frames of a file."""

    total: int
    required: Sequence[int]
    """Frames at which some viewers stop."""
    more: bool
    """Whether there may be more frames than were counted."""
    truncated: bool
    """Whether the file ends before it says."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first frame, as stored."""
        ...

    def frames(self, wanted: Collection[int] | None = None) -> Iterator[Frame]:
        """Decode frames in order: all of them, or at least those wanted."""
        ...

    def picture(self, number: int, image: Image.Image) -> Picture:
        """Return an image that `frames` yielded, or a copy of it, as viewers show it."""
        ...


class GifSource:
    """A GIF, composed here: Pillow draws some frames otherwise than browsers do."""

    def __init__(self, data: bytes, budget: DecodeBudget) -> None:
        self._data = data
        self._budget = budget
        self._gif = read_gif(data, MAX_FRAMES)
        if not self._gif.frames:
            raise ImageBroken("the GIF holds no picture")
        budget.check_pixels(self._gif.width, self._gif.height)
        gif = self._gif
        self.size = gif.width, gif.height
        self.total = len(gif.frames)
        self.required = [] if gif.stop is None else [gif.stop]
        self.more = gif.more
        self.truncated = False

    def frames(self, wanted: Collection[int] | None = None) -> Iterator[Frame]:
        """Decode frames in order."""
        shown = compose(self.size, map(self._patch, range(self.total)))
        for number, image in enumerate(shown):
            yield number, self._gif.frames[number].seconds, image

    def picture(self, number: int, image: Image.Image) -> Picture:
        """Return a frame as viewers show it."""
        return Picture(to_rgb(image), alpha_of(image))

    def _patch(self, number: int) -> Patch:
        frame = self._gif.frames[number]
        left, top, right, bottom = frame.box
        self._budget.check_pixels(right - left, bottom - top)
        indices = Image.open(io.BytesIO(lone_frame(self._data, frame)), formats=["GIF"])
        return Patch(colour(indices, frame), frame.box, frame.disposal, over=True)


class PngSource:
    """A PNG, and an animation composed here."""

    def __init__(self, data: bytes, budget: DecodeBudget) -> None:
        self._png = read_png(data)
        self._image = Image.open(io.BytesIO(self._png.still()), formats=["PNG"])
        budget.check_image(self._image)
        self._metadata = read_metadata(self._image, "PNG")
        self.size = self._image.size
        frames = self._png.frames
        # Viewers that know no animations show the still picture, which may be none of the frames.
        self._extra = 0 if self._png.starts_with_still else 1
        self.total = len(frames) + self._extra
        self.more = False
        self.truncated = bool(frames) and self._png.announced > len(frames)
        ends = min(self._png.announced, len(frames)) - 1 + self._extra
        self.required = [self._extra, ends] if frames else []

    def frames(self, wanted: Collection[int] | None = None) -> Iterator[Frame]:
        """Decode frames in order."""
        if self._extra:
            self._image.load()
            yield 0, 0.0, self._image
        shown = compose(self.size, map(self._patch, self._png.frames))
        for number, (frame, image) in enumerate(
            zip(self._png.frames, shown, strict=False), start=self._extra
        ):
            yield number, frame.seconds, image

    def picture(self, number: int, image: Image.Image) -> Picture:
        """Return a frame as viewers show it."""
        is_still = number == 0 and self._extra
        alpha = self._alpha(image, self._png.still()) if is_still else alpha_of(image)
        return picture_of(image, alpha, self._metadata)

    def _patch(self, frame: PngFrame) -> Patch:
        file = self._png.frame(frame)
        image = Image.open(io.BytesIO(file), formats=["PNG"])
        image.load()
        rgba = to_rgb(image)
        alpha = self._alpha(image, file)
        rgba = rgba.convert("RGBA")
        if alpha is not None:
            rgba.putalpha(alpha)
        return Patch(rgba, frame.box, frame.disposal, frame.over)

    def _alpha(self, image: Image.Image, file: bytes) -> Image.Image | None:
        key = self._png.key
        if key is None:
            return alpha_of(image)
        low = None
        if len(key) == 3 and self._png.depth == 16:
            low = Image.open(io.BytesIO(file), formats=["PNG"])
            assert hasattr(low, "tile")
            low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
            low.load()
        return alpha_of_key(image, key, self._png.depth, low)


class PillowSource:
    """A file whose frames Pillow decodes as browsers do."""

    def __init__(self, data: bytes, format_name: str, budget: DecodeBudget, draft_to: int | None) -> None:
        if format_name == "WEBP":
            data = show_alpha_of_webp(data)
        self._data = data
        self._format = format_name
        self._budget = budget
        self._image = Image.open(io.BytesIO(data), formats=[format_name])
        budget.check_image(self._image)
        self.size = self._image.size
        self._draft = None if draft_to is None else (2 * draft_to, 2 * draft_to)
        self.drafted = self._draft is not None and self._image.draft("RGB", self._draft) is not None
        self._metadata: Metadata | None = None
        self._missing: Image.Image | None = None
        # Nobody sees the additional pictures in a JPEG (depth maps, previews).
        self.total = getattr(self._image, "n_frames", 1) if format_name in ("WEBP", "AVIF") else 1
        if format_name == "TIFF":
            self.total = self._count_pages()
        self.more = self.total == MAX_FRAMES
        self.required: Sequence[int] = ()
        self.truncated = False

    def frames(self, wanted: Collection[int] | None = None) -> Iterator[Frame]:
        """Decode frames in order; pages of a TIFF only as far as they are wanted."""
        image = self._image
        for number in range(self.total):
            if self._format == "TIFF" and wanted is not None and number not in wanted:
                continue
            if self.total > 1:
                image.seek(number)
                self._budget.check_image(image)  # a page may be larger than the first
            image = self._load(image)
            seconds = image.info.get("duration", 0) / 1000
            yield number, SHORT_SHOWN_SECONDS if seconds < SHORT_SECONDS else seconds, image

    def picture(self, number: int, image: Image.Image) -> Picture:
        """Return a frame as viewers show it."""
        if self._metadata is None:
            self._metadata = read_metadata(self._image, self._format)
        alpha = alpha_of(image) if self._missing is None else self._missing
        if self._format == "BMP" and alpha is None:
            alpha = alpha_of_bmp(self._data)
        crops = ()
        if self._format == "AVIF":
            found = (crop_box(aperture, image.size) for aperture in find_apertures(self._data))
            crops = tuple(box for box in found if box is not None)
        inverted = None
        if self._format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
            inverted = ImageChops.invert(image).convert("RGB")
        return picture_of(image, alpha, self._metadata, crops, inverted)

    def _count_pages(self) -> int:
        """Count pages, which form a linked list; following it reads their tags and decodes nothing."""
        pages = 1
        try:
            while pages < MAX_FRAMES:
                self._budget.check_time()
                self._image.seek(pages)
                pages += 1
        except EOFError:
            pass
        self._image.seek(0)
        return pages

    def _load(self, image: Image.Image) -> Image.Image:
        if self._format != "JPEG":
            image.load()
            return image
        try:
            image.load()
        except OSError:
            info = image.info
            image, self._missing = load_partially(self._data, self._draft)
            self._image = image
            image.info = info
            self.truncated = True
        return image


class IconSource:
    """An icon: each picture that a viewer may choose counts as a frame."""

    def __init__(self, data: bytes, budget: DecodeBudget) -> None:
        self._entries = largest_entries(data)
        if not self._entries:
            raise ImageBroken("the icon holds no picture")
        self._budget = budget
        self.total = len(self._entries)
        self.required = range(self.total)
        self.more = False
        self.truncated = False
        self._source: FrameSource = self._open(self._entries[0])
        self.size = self._source.size

    def frames(self, wanted: Collection[int] | None = None) -> Iterator[Frame]:
        """Decode the pictures wanted, the one that browsers show first."""
        for number, entry in enumerate(self._entries):
            if wanted is None or number in wanted:
                self._source = self._open(entry)
                yield number, 0.0, next(self._source.frames())[2]

    def picture(self, number: int, image: Image.Image) -> Picture:
        """Return the picture that `frames` yielded last, as viewers show it."""
        return self._source.picture(0, image)

    def _open(self, entry: IconEntry) -> FrameSource:
        if entry.is_png:
            return PngSource(entry.file, self._budget)
        return PillowSource(entry.file, "ICO", self._budget, None)


def open_source(data: bytes, format_name: str, budget: DecodeBudget, draft_to: int | None) -> FrameSource:
    """Open a file of a format, as Pillow names it.

    Raises:
        ImageError: it is broken or too large.
        Exception: whatever Pillow raises.
    """
    if format_name == "GIF":
        return GifSource(data, budget)
    if format_name == "PNG":
        return PngSource(data, budget)
    if format_name == "ICO":
        return IconSource(data, budget)
    return PillowSource(data, format_name, budget, draft_to)
