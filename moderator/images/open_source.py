"""Open a file as a source of frames, whatever its format: stills, animations, pages, the pictures of an icon."""

import io
from collections.abc import Collection, Iterator, Sequence

from PIL import Image, ImageChops

from moderator.errors import ImageBroken
from moderator.images.animated_sources import GifSource, PngSource, WebpSource
from moderator.images.avif_boxes import Crop, crop_box, find_apertures
from moderator.images.bmp_alpha import alpha_of_bmp
from moderator.images.code_points import code_points_of_avif
from moderator.images.colour import alpha_of
from moderator.images.composition import shown_seconds
from moderator.images.decode_budget import DecodeBudget
from moderator.images.frame_source import DecodedFrame, FrameSource
from moderator.images.icon_directory import IconEntry, largest_entries
from moderator.images.metadata import Metadata, read_metadata
from moderator.images.partial_files import load_leniently, load_partial_jpeg, missing_rows
from moderator.images.renderings import Picture, picture_of
from moderator.images.webp_chunks import read_webp, show_alpha_of_webp


class PillowSource:
    """A file whose frames Pillow decodes as browsers do."""

    def __init__(self, data: bytes, format_name: str, budget: DecodeBudget, draft_to: int | None) -> None:
        if format_name == "WEBP":
            data = show_alpha_of_webp(data)
        self._data = data
        self._format = format_name
        self._budget = budget
        self._image: Image.Image = Image.open(io.BytesIO(data), formats=[format_name])
        budget.check_image(self._image)
        self.size = self._image.size
        self._draft = None if draft_to is None else (2 * draft_to, 2 * draft_to)
        self.drafted = self._draft is not None and self._image.draft("RGB", self._draft) is not None
        self._metadata: Metadata | None = None
        self._missing: Image.Image | None = None
        # Nobody sees the additional pictures in a JPEG (depth maps, previews).
        self.total = getattr(self._image, "n_frames", 1) if format_name == "AVIF" else 1
        if format_name == "TIFF":
            self.total = self._count_pages()
        self.more = self.total == budget.frames_max
        self.required: Sequence[int] = ()
        self.truncated = False

    def frames(self, wanted: Collection[int] | None = None) -> Iterator[DecodedFrame]:
        """Decode frames in order; pages of a TIFF only as far as they are wanted."""
        image = self._image
        for number in range(self.total):
            if self._format == "TIFF" and wanted is not None and number not in wanted:
                continue
            if self.total > 1:
                image.seek(number)
                self._budget.check_image(image)  # a page may be larger than the first
            image = self._load(image)
            yield number, shown_seconds(image.info.get("duration", 0) / 1000), image

    def picture(self, number: int, image: Image.Image) -> Picture:
        """Return a frame as viewers show it."""
        if self._metadata is None:
            code_points = code_points_of_avif(self._data) if self._format == "AVIF" else None
            self._metadata = read_metadata(self._image, self._format, code_points)
        alpha = alpha_of(image) if self._missing is None else self._missing
        if self._format == "BMP" and alpha is None:
            alpha = alpha_of_bmp(self._data)
        if self._format in ("BMP", "ICO") and alpha is not None and alpha.getextrema() == (0, 0):
            alpha = None  # as browsers do: writers of bitmaps often leave it empty
        crops: tuple[Crop, ...] = ()
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
            while pages < self._budget.frames_max:
                self._budget.check_time()
                self._image.seek(pages)
                pages += 1
        except EOFError:
            pass
        self._image.seek(0)
        return pages

    def _load(self, image: Image.Image) -> Image.Image:
        if self._format == "BMP":
            if not load_leniently(image):
                self._missing = missing_rows(image)
                self.truncated = True
            return image
        if self._format != "JPEG":
            image.load()
            return image
        try:
            image.load()
        except OSError:
            info = image.info
            image, self._missing = load_partial_jpeg(self._data, self._draft)
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
        self.required: Sequence[int] = range(self.total)
        self.more = False
        self.truncated = False
        self._source: FrameSource = self._open(self._entries[0])
        self.size = self._source.size

    def frames(self, wanted: Collection[int] | None = None) -> Iterator[DecodedFrame]:
        """Decode the pictures wanted, the one that browsers show first."""
        for number, entry in enumerate(self._entries):
            if wanted is None or number in wanted:
                self._source = self._open(entry)
                image = next(self._source.frames())[2]
                self.truncated |= self._source.truncated
                yield number, 0.0, image

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
    if format_name == "WEBP" and (frames := read_webp(data)):
        return WebpSource(data, frames, budget)
    return PillowSource(data, format_name, budget, draft_to)
