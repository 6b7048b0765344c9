"""Chromium as the judge of what people see: it decodes files in a page, and hands back the pixels."""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.support.tools import needs, needs_extra

#: A page of its own origin, so that the browser offers its decoder for single frames.
ADDRESS = "https://images.test/"
WHITE, BLACK = "#ffffff", "#000000"
MIME_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "ico": "image/x-icon",
}
SCRIPT = """
const bytesOf = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const textOf = bytes => {
  let text = '';
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
};
const draw = (image, width, height, background) => {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.fillStyle = background;
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0);
  return {width, height, pixels: textOf(new Uint8Array(context.getImageData(0, 0, width, height).data.buffer))};
};
window.still = async ({data, type, background}) => {
  const image = new Image();
  const loaded = new Promise(resolve => { image.onload = () => resolve(true); image.onerror = () => resolve(false); });
  image.src = URL.createObjectURL(new Blob([bytesOf(data)], {type}));
  if (!await loaded) return null;
  const shown = draw(image, image.naturalWidth, image.naturalHeight, background);
  URL.revokeObjectURL(image.src);
  return shown;
};
window.frames_of = async ({data, type, backgrounds, most}) => {
  const decoder = new ImageDecoder({data: bytesOf(data), type});
  await decoder.completed;
  await decoder.tracks.ready;
  const count = decoder.tracks.selectedTrack.frameCount;
  const shown = [];
  for (let index = 0; index < Math.min(count, most); index++) {
    let image;
    try { image = (await decoder.decode({frameIndex: index})).image; } catch (error) { break; }
    const drawn = backgrounds.map(color => draw(image, image.displayWidth, image.displayHeight, color));
    shown.push({seconds: (image.duration ?? 0) / 1e6, drawn});
    image.close();
  }
  decoder.close();
  return {count, shown};
};
"""


@dataclass(frozen=True)
class ShownFrame:
    """A frame as the browser composes it: on white and on black, uint8 [height, width, 3]."""

    seconds: float
    on_white: np.ndarray
    on_black: np.ndarray


class Browser:
    """A page of Chromium in which files are decoded."""

    def __init__(self, page: Any) -> None:
        self._page = page

    def show(self, file: bytes, format_name: str, background: str = WHITE) -> np.ndarray | None:
        """What an `img` element shows of a file, uint8 [height, width, 3]; None where it shows nothing."""
        shown = self._page.evaluate(
            "file => window.still(file)", {**_sent(file, format_name), "background": background}
        )
        return None if shown is None else _pixels(shown)

    def frames(self, file: bytes, format_name: str, most: int = 1000) -> tuple[int, list[ShownFrame]]:
        """How many frames an animation has, and the first of them, as far as they can be decoded."""
        request = {**_sent(file, format_name), "backgrounds": [WHITE, BLACK], "most": most}
        answer = self._page.evaluate("file => window.frames_of(file)", request)
        shown = [ShownFrame(one["seconds"], *map(_pixels, one["drawn"])) for one in answer["shown"]]
        return answer["count"], shown


def _sent(file: bytes, format_name: str) -> dict[str, str]:
    return {"data": base64.b64encode(file).decode(), "type": MIME_TYPES[format_name]}


def _pixels(shown: dict[str, Any]) -> np.ndarray:
    pixels = np.frombuffer(base64.b64decode(shown["pixels"]), dtype=np.uint8)
    return pixels.reshape(shown["height"], shown["width"], 4)[..., :3]


@contextmanager
def open_chromium(arguments: Sequence[str] = ()) -> Iterator[Any]:
    """Start Chromium, once for many pages. Without it, or without Playwright, see `missing`."""
    program = needs("chromium", package="chromium")
    playwright = needs_extra("playwright.sync_api", "dev")
    with playwright.sync_playwright() as driver:
        options = ["--force-color-profile=srgb", "--disable-gpu", "--no-sandbox", *arguments]
        chromium = driver.chromium.launch(executable_path=program, args=options)
        yield chromium
        chromium.close()


@contextmanager
def open_browser(arguments: Sequence[str] = ()) -> Iterator[Browser]:
    """Start Chromium, once for many files."""
    with open_chromium(arguments) as chromium:
        page = chromium.new_page()
        page.route(
            f"{ADDRESS}**",
            lambda route: route.fulfill(
                body="<!doctype html><title>images</title>", content_type="text/html"
            ),
        )
        page.goto(ADDRESS)
        page.add_script_tag(content=SCRIPT)
        yield Browser(page)
