"""Tricks with animations: the frame that people see is not the frame that a careless program looks at."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from benchmarks.format_tricks import LONG_MILLISECONDS, SHORT_MILLISECONDS, SIDE, TRICKS, Trick, trick
from benchmarks.format_writers import BareFrame, announcement, apng, decode, encode, gif

_SIZE = (SIDE, SIDE)
_CLEAR = np.zeros((SIDE, SIDE, 4), np.uint8)


def _rgba(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGBA"))


def _palettes(photograph: Image.Image, other: Image.Image) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return one palette of 255 colours for both pictures, and their indices; the last index stays free."""
    both = Image.new("RGB", (SIDE, 2 * SIDE))
    both.paste(photograph)
    both.paste(other, (0, SIDE))
    image = both.quantize(255, dither=Image.Dither.NONE)
    indices = np.asarray(image)
    return bytes(image.getpalette("RGB") or ()), indices[:SIDE], indices[SIDE:]


def _shown(indices: np.ndarray, palette: bytes) -> Image.Image:
    colours = np.frombuffer(palette.ljust(768, b"\0"), np.uint8).reshape(256, 3)
    return Image.fromarray(colours[indices])


def _cut_out(photograph: Image.Image) -> tuple[np.ndarray, Image.Image]:
    """Return which pixels are dark, and the dark pixels on white."""
    dark = np.asarray(photograph.convert("L")) < 128
    return dark, _on_white(dark, photograph)


def _on_white(kept: np.ndarray, image: Image.Image) -> Image.Image:
    return Image.fromarray(np.where(kept[..., None], np.asarray(image), 255).astype(np.uint8))


# --- frames that are not looked at


def _middle(name: str, count: int = 5) -> Trick:
    """Of a few frames, one in the middle stays for a minute."""

    def middle(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
        frames = [other.copy() for _ in range(count)]
        for number, frame in enumerate(frames):
            frame.putpixel((number, 0), (255, 0, 0))
        frames[2] = photograph
        durations = [SHORT_MILLISECONDS] * count
        durations[2] = LONG_MILLISECONDS
        options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 90}}.get(name, {})
        file = encode(frames[0], name, save_all=True, append_images=frames[1:], duration=durations, **options)
        return file, decode(file, 2) if name == "AVIF" else photograph

    return middle


for _name in ("WEBP", "PNG", "AVIF"):
    TRICKS[f"middle-frame-{_name.lower()}"] = _middle(_name)


@trick
def middle_frame_gif(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    palette, shown, hidden = _palettes(photograph, other)
    frames = [BareFrame(hidden, milliseconds=SHORT_MILLISECONDS)] * 5
    frames[2] = BareFrame(shown, milliseconds=LONG_MILLISECONDS)
    return gif(_SIZE, frames, palette), _shown(shown, palette)


def _many(chosen: Callable[[int], bool], count: int) -> Trick:
    """Of many frames, those chosen show the photograph."""

    def many(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
        palette, shown, hidden = _palettes(photograph, other)
        whole = [BareFrame(hidden, milliseconds=SHORT_MILLISECONDS)]
        pictures = {True: shown, False: hidden}
        before = chosen(0)
        for number in range(1, count):
            now = chosen(number)
            pixels = pictures[now] if now != before else pictures[now][:1, :1]
            whole.append(BareFrame(pixels, milliseconds=SHORT_MILLISECONDS))
            before = now
        return gif(_SIZE, whole, palette), _shown(shown, palette)

    return many


TRICKS["all-but-four-of-300"] = _many(lambda number: number not in (0, 100, 199, 299), 300)
TRICKS["last-of-2002"] = _many(lambda number: number == 2001, 2002)
TRICKS["one-of-300"] = _many(lambda number: number == 137, 300)


@trick
def gif_garbage(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """Browsers stop at a stray byte and keep the frame before it."""
    palette, shown, hidden = _palettes(photograph, other)
    frames: Sequence[BareFrame | bytes] = [
        BareFrame(hidden),
        BareFrame(shown),
        b"\x99",
        *[BareFrame(hidden)] * 8,
    ]
    return gif(_SIZE, frames, palette), _shown(shown, palette)


@trick
def png_announced_twice(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    frames = [
        BareFrame(_rgba(other), milliseconds=SHORT_MILLISECONDS),
        BareFrame(_rgba(photograph), milliseconds=LONG_MILLISECONDS),
    ]
    return apng(_SIZE, frames, announcement(2) * 2), photograph


# --- composition


@trick
def gif_outside_screen(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    palette, shown, hidden = _palettes(photograph, other)
    frames = [
        BareFrame(hidden, milliseconds=SHORT_MILLISECONDS),
        BareFrame(hidden[:1, :1], left=3000, milliseconds=SHORT_MILLISECONDS),
        BareFrame(shown, milliseconds=LONG_MILLISECONDS),
    ]
    return gif(_SIZE, frames, palette), _shown(shown, palette)


@trick
def gif_disposed(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """A black frame is disposed of; then dark pixels follow on a transparent ground."""
    dark, _ = _cut_out(photograph)
    palette, shown, _ = _palettes(photograph, other)
    visible = _on_white(dark, _shown(shown, palette))
    black = np.full((SIDE, SIDE), 255, np.uint8)
    frames = [
        BareFrame(black, milliseconds=SHORT_MILLISECONDS, disposal=2),
        BareFrame(np.where(dark, shown, 254), milliseconds=LONG_MILLISECONDS, transparent=254),
    ]
    return gif(_SIZE, frames, palette[:762]), visible


@trick
def gif_partial_first(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """The first frame is a dot; what it leaves open is transparent."""
    dark, _ = _cut_out(photograph)
    palette, shown, _ = _palettes(photograph, other)
    visible = _on_white(dark, _shown(shown, palette))
    frames = [
        BareFrame(shown[:1, :1], milliseconds=SHORT_MILLISECONDS),
        BareFrame(np.where(dark, shown, 255), milliseconds=LONG_MILLISECONDS, transparent=255),
    ]
    return gif(_SIZE, frames, palette), visible


@trick
def png_restored(photograph: Image.Image, other: Image.Image) -> tuple[bytes, Image.Image]:
    """Two black frames are taken back; then dark pixels follow on a transparent ground."""
    dark, visible = _cut_out(photograph)
    black = _CLEAR + np.array((0, 0, 0, 255), np.uint8)
    cut_out = np.where(dark[..., None], _rgba(photograph), _CLEAR)
    frames = [
        BareFrame(black, milliseconds=SHORT_MILLISECONDS, disposal=2),
        BareFrame(black, milliseconds=SHORT_MILLISECONDS, disposal=2),
        BareFrame(cut_out, milliseconds=LONG_MILLISECONDS, blend=1),
    ]
    return apng(_SIZE, frames), visible
