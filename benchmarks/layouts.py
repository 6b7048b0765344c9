"""Layouts in which a photograph is shown: strips, corners, collages, grids, screenshots, frames of an animation.

Positions, sizes and backgrounds are random; the seed decides. Every layout shows the photograph whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

#: Pixels on the longer side of the photograph inside a layout, least and most.
PHOTOGRAPH_PIXELS = (260, 512)
COLOURS = ((255, 255, 255), (0, 0, 0), (128, 128, 128))


@dataclass
class Maker:
    """Makes layouts of a photograph, with others beside it or behind it.

    Args:
        random: chooses positions, sizes, colours.
        others: photographs to choose from.
    """

    random: np.random.Generator
    others: Sequence[Image.Image]
    used: set[int] = field(default_factory=set)
    """Numbers of the photographs chosen so far; the caller clears it."""

    def other(self, size: tuple[int, int]) -> Image.Image:
        """Return another photograph that fills a size."""
        number = int(self.random.integers(len(self.others)))
        self.used.add(number)
        return ImageOps.fit(self.others[number], size)

    def background(self, size: tuple[int, int]) -> Image.Image:
        """Return one colour, noise, or a photograph."""
        kind = self.random.integers(5)
        if kind < len(COLOURS):
            return Image.new("RGB", size, COLOURS[kind])
        if kind == len(COLOURS):
            return Image.fromarray(self.random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        return self.other(size)

    def strip(self, photograph: Image.Image, upright: bool) -> Image.Image:
        """Put the photograph at a random place of a strip of two to four times its length."""
        width, height = photograph.size
        times = self.random.uniform(2, 4)
        size = (width, round(times * height)) if upright else (round(times * width), height)
        canvas = self.background(size)
        share = self.random.choice([0.0, self.random.uniform(), 1.0])
        canvas.paste(
            photograph, tuple(round(share * (a - b)) for a, b in zip(size, (width, height), strict=True))
        )
        return canvas

    def strip_upright(self, photograph: Image.Image) -> Image.Image:
        """Put it above or below something else."""
        return self.strip(photograph, True)

    def strip_level(self, photograph: Image.Image) -> Image.Image:
        """Put it beside something else."""
        return self.strip(photograph, False)

    def _on(self, canvas: Image.Image, photograph: Image.Image, x: float, y: float) -> Image.Image:
        place = round(x * (canvas.width - photograph.width)), round(y * (canvas.height - photograph.height))
        canvas.paste(photograph, place)
        return canvas

    def _canvas(self, photograph: Image.Image, least: float, most: float) -> tuple[int, int]:
        side = round(max(photograph.size) * self.random.uniform(least, most))
        return side, side

    def corner(self, photograph: Image.Image) -> Image.Image:
        """Put it into a corner of a square of about twice its side."""
        canvas = self.background(self._canvas(photograph, 1.6, 2.5))
        return self._on(canvas, photograph, *self.random.integers(0, 2, 2).tolist())

    def centre(self, photograph: Image.Image) -> Image.Image:
        """Put it somewhere in the middle of a square of two to three times its side."""
        canvas = self.background(self._canvas(photograph, 2.0, 3.2))
        return self._on(canvas, photograph, *self.random.uniform(0.3, 0.7, 2).tolist())

    def on_photograph(self, photograph: Image.Image) -> Image.Image:
        """Paste it anywhere on another photograph of about twice its side."""
        canvas = self.other(self._canvas(photograph, 1.6, 2.5))
        return self._on(canvas, photograph, *self.random.uniform(0, 1, 2).tolist())

    def _grid(self, photograph: Image.Image, columns: int, rows: int) -> Image.Image:
        width, height = photograph.size
        gutter = int(self.random.choice([0, 0, self.random.integers(2, 24)]))
        size = columns * width + (columns + 1) * gutter, rows * height + (rows + 1) * gutter
        canvas = Image.new("RGB", size, COLOURS[self.random.integers(len(COLOURS))])
        place = int(self.random.integers(columns * rows))
        for number in range(columns * rows):
            cell = photograph if number == place else self.other((width, height))
            row, column = divmod(number, columns)
            canvas.paste(cell, (gutter + column * (width + gutter), gutter + row * (height + gutter)))
        return canvas

    def collage_2(self, photograph: Image.Image) -> Image.Image:
        """Put another photograph beside it or below it."""
        columns = int(self.random.integers(1, 3))
        return self._grid(photograph, columns, 3 - columns)

    def grid_4(self, photograph: Image.Image) -> Image.Image:
        """Make it one of four."""
        return self._grid(photograph, 2, 2)

    def grid_9(self, photograph: Image.Image) -> Image.Image:
        """Make it one of nine."""
        return self._grid(photograph, 3, 3)

    def screenshot(self, photograph: Image.Image) -> Image.Image:
        """Show it in a feed: bars above and below, a name, and lines of text."""
        width = photograph.width
        dark = bool(self.random.integers(2))
        paper, ink = ((18, 18, 18), (230, 230, 230)) if dark else ((255, 255, 255), (30, 30, 30))
        bar = round(width * self.random.uniform(0.12, 0.25))
        text = round(width * self.random.uniform(0.2, 0.6))
        height = photograph.height + 2 * bar + text
        canvas = Image.new("RGB", (width, height), paper)
        draw = ImageDraw.Draw(canvas)
        draw.rectangle((0, 0, width, bar // 3), fill=(60, 60, 70) if dark else (235, 235, 240))
        draw.ellipse((bar // 4, bar // 2, bar // 4 + bar // 3, bar // 2 + bar // 3), fill=(200, 90, 60))
        draw.text((bar, bar // 2), "somebody · 3 h", fill=ink)
        canvas.paste(photograph, (0, bar))
        for y in range(bar + photograph.height + 8, bar + photograph.height + text - 12, 14):
            draw.text((10, y), "words about " * int(self.random.integers(2, 8)), fill=ink)
        for number in range(5):
            x = round((number + 0.5) * width / 5)
            draw.rectangle((x - 8, height - bar // 2 - 8, x + 8, height - bar // 2 + 8), outline=ink, width=2)
        return canvas


Layout = Callable[[Maker, Image.Image], Image.Image]

#: Several pictures in one, or one in a frame.
COMPOSED: dict[str, Layout] = {
    "strip-upright": Maker.strip_upright,
    "strip-level": Maker.strip_level,
    "corner": Maker.corner,
    "centre": Maker.centre,
    "on-photograph": Maker.on_photograph,
    "collage-2": Maker.collage_2,
    "grid-4": Maker.grid_4,
    "grid-9": Maker.grid_9,
    "screenshot": Maker.screenshot,
}
#: The photograph itself, altered.
ALTERED: dict[str, Layout] = {
    "turned-90": lambda maker, photograph: photograph.transpose(Image.Transpose.ROTATE_90),
    "turned-180": lambda maker, photograph: photograph.transpose(Image.Transpose.ROTATE_180),
    "turned-270": lambda maker, photograph: photograph.transpose(Image.Transpose.ROTATE_270),
    "mirrored": lambda maker, photograph: ImageOps.mirror(photograph),
    "inverted": lambda maker, photograph: ImageOps.invert(photograph),
    "blurred": lambda maker, photograph: photograph.filter(ImageFilter.GaussianBlur(4)),
}
ANIMATED = "animation"


def sized(photograph: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return the photograph in a random size."""
    ratio = random.integers(*PHOTOGRAPH_PIXELS) / max(photograph.size)
    size = tuple(max(1, round(ratio * side)) for side in photograph.size)
    return photograph.resize(size, Image.Resampling.BICUBIC)


def encode(picture: Image.Image, random: np.random.Generator) -> bytes:
    """Return the file of a picture: JPEG in one of the usual qualities, or PNG."""
    file = BytesIO()
    if random.integers(4) == 0:
        picture.save(file, "PNG", compress_level=1)
    else:
        picture.save(file, "JPEG", quality=int(random.integers(75, 96)))
    return file.getvalue()


def encode_animation(maker: Maker, photograph: Image.Image) -> bytes:
    """Return a GIF of three frames; one of them shows the photograph in a corner, the others other photographs."""
    shown = maker.corner(photograph)
    frames = [maker.other(shown.size) for _ in range(2)]
    frames.insert(int(maker.random.integers(3)), shown)
    file = BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=500)
    return file.getvalue()
