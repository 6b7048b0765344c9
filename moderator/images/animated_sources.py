"""Animations whose frames are composed here, because Pillow draws some otherwise than browsers do."""

import io
from collections.abc import Collection, Iterator, Sequence

from PIL import Image, ImageChops

from moderator.errors import ImageBroken
from moderator.images.colour import alpha_of, alpha_of_key, to_rgb
from moderator.images.composition import Patch, compose, unpremultiplied
from moderator.images.decode_budget import DecodeBudget
from moderator.images.frame_source import DecodedFrame
from moderator.images.gif_blocks import colour, lone_frame, partial_colour, read_gif
from moderator.images.metadata import read_metadata
from moderator.images.partial_files import load_leniently
from moderator.images.png_chunks import PngFrame, read_png
from moderator.images.png_rows import as_shown, count_inflated, inflated_length
from moderator.images.renderings import Picture, picture_of
from moderator.images.webp_chunks import WebpFrame


class GifSource:
    """A GIF, composed here: Pillow draws some frames otherwise than browsers do."""

    def __init__(self, data: bytes, budget: DecodeBudget) -> None:
        self._data = data
        self._budget = budget
        self._gif = read_gif(data, budget.frames_max)
        if not self._gif.frames:
            raise ImageBroken("the GIF holds no picture")
        budget.check_pixels(self._gif.width, self._gif.height)
        gif = self._gif
        self.size = gif.width, gif.height
        self.total = len(gif.frames)
        self.required: Sequence[int] = [] if gif.stop is None else [gif.stop]
        self.more = gif.more
        self.truncated = False

    def frames(self, wanted: Collection[int] | None = None) -> Iterator[DecodedFrame]:
        """Decode frames in order."""
        shown = compose(self.size, map(self._patch, range(self.total)))
        for number, image in enumerate(shown):
            yield number, self._gif.frames[number].seconds, image

    def picture(self, number: int, image: Image.Image) -> Picture:
        """Return a frame as viewers show it."""
        rgba = unpremultiplied(image)
        return Picture(to_rgb(rgba), alpha_of(rgba))

    def _patch(self, number: int) -> Patch:
        frame = self._gif.frames[number]
        left, top, right, bottom = frame.box
        self._budget.check_pixels(right - left, bottom - top)
        indices = Image.open(io.BytesIO(lone_frame(self._data, frame)), formats=["GIF"])
        if load_leniently(indices):
            return Patch(colour(indices, frame), frame.box, frame.disposal, over=True)
        if number:
            raise ImageBroken("a frame of the GIF is truncated")  # browsers stop before it
        self.truncated = True
        return Patch(partial_colour(indices, frame), frame.box, frame.disposal, over=True)


class PngSource:
    """A PNG, and an animation composed here."""

    def __init__(self, data: bytes, budget: DecodeBudget) -> None:
        self._png = read_png(data)
        self._still = self._png.still()
        self._image: Image.Image = Image.open(io.BytesIO(self._still), formats=["PNG"])
        self._missing: Image.Image | None = None
        budget.check_image(self._image)
        self._metadata = read_metadata(self._image, "PNG", self._png.code_points)
        self.size = self._image.size
        frames = self._png.frames
        # Viewers that know no animations show the still picture, which may be none of the frames.
        self._extra = 0 if self._png.starts_with_still else 1
        self.total = len(frames) + self._extra
        self.more = False
        self.truncated = bool(frames) and self._png.announced > len(frames)
        ends = min(self._png.announced, len(frames)) - 1 + self._extra
        self.required: Sequence[int] = [self._extra, ends] if frames else []

    def frames(self, wanted: Collection[int] | None = None) -> Iterator[DecodedFrame]:
        """Decode frames in order."""
        if self._extra:
            self._image, self._missing = self._load(self._still, self._png.header, self._png.parts)
            yield 0, 0.0, self._image
        shown = compose(self.size, map(self._patch, self._png.frames))
        for number, (frame, image) in enumerate(
            zip(self._png.frames, shown, strict=False), start=self._extra
        ):
            yield number, frame.seconds, image

    def picture(self, number: int, image: Image.Image) -> Picture:
        """Return a frame as viewers show it."""
        if number == 0 and self._extra:
            alpha = _both(self._alpha(image, self._still), self._missing)
            return picture_of(image, alpha, self._metadata)
        rgba = unpremultiplied(image)
        return picture_of(rgba, alpha_of(rgba), self._metadata)

    def _patch(self, frame: PngFrame) -> Patch:
        file = self._png.frame(frame)
        image, missing = self._load(file, self._png.frame_header(frame), frame.parts)
        rgba = to_rgb(image)
        alpha = _both(self._alpha(image, file), missing)
        rgba = rgba.convert("RGBA")
        if alpha is not None:
            rgba.putalpha(alpha)
        return Patch(rgba.convert("RGBa"), frame.box, frame.disposal, frame.over)

    def _load(
        self, file: bytes, header: bytes, parts: list[tuple[int, int]]
    ) -> tuple[Image.Image, Image.Image | None]:
        """Load a picture; return it, and the alpha of what browsers do not show of it because of damage."""
        image = Image.open(io.BytesIO(file), formats=["PNG"])
        whole = load_leniently(image) and self._png.damaged not in parts
        # Pillow reports no error in compressed data. What it did not reach is zero.
        if whole and image.crop((0, image.height - 1, *image.size)).getbbox(alpha_only=False):
            return image, None
        length = count_inflated(self._png.heeded(parts), header)
        if length == inflated_length(header):
            return image, None
        self.truncated = True
        return as_shown(image, header, length)

    def _alpha(self, image: Image.Image, file: bytes) -> Image.Image | None:
        key = self._png.key
        if key is None:
            return alpha_of(image)
        low = None
        if len(key) == 3 and self._png.depth == 16:
            low = Image.open(io.BytesIO(file), formats=["PNG"])
            assert hasattr(low, "tile")
            low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
            load_leniently(low)
        return alpha_of_key(image, key, self._png.depth, low)


def _both(alpha: Image.Image | None, other: Image.Image | None) -> Image.Image | None:
    """Return the alpha of what two alphas let through; None: all is opaque."""
    if alpha is None or other is None:
        return other if alpha is None else alpha
    return ImageChops.darker(alpha, other)


class WebpSource:
    """An animated WebP."""

    def __init__(self, data: bytes, frames: list[WebpFrame], budget: DecodeBudget) -> None:
        self._frames = frames
        image = Image.open(io.BytesIO(data), formats=["WEBP"])
        budget.check_image(image)
        self._metadata = read_metadata(image, "WEBP")
        self.size = image.size
        self.total = len(self._frames)
        self.required: Sequence[int] = ()
        self.more = False
        self.truncated = False

    def frames(self, wanted: Collection[int] | None = None) -> Iterator[DecodedFrame]:
        """Decode frames in order."""
        shown = compose(self.size, map(self._patch, self._frames))
        for number, image in enumerate(shown):
            yield number, self._frames[number].seconds, image

    def picture(self, number: int, image: Image.Image) -> Picture:
        """Return a frame as viewers show it."""
        rgba = unpremultiplied(image)
        return picture_of(rgba, alpha_of(rgba), self._metadata)

    def _patch(self, frame: WebpFrame) -> Patch:
        image = Image.open(io.BytesIO(frame.file), formats=["WEBP"])
        image.load()
        return Patch(image.convert("RGBA").convert("RGBa"), frame.box, frame.disposal, frame.over)
