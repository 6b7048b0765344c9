"""What is judged is what Chromium shows: each trick with formats, and random animations, pixel by pixel."""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from benchmarks import animation_tricks, damage_tricks  # noqa: F401 (they register tricks)
from benchmarks.format_tricks import TRICKS, make_square
from moderator.images.colour import BLACK, WHITE, on_background
from moderator.images.decode import DecodedImage, DecodeLimits, decode
from moderator.images.decode_budget import DecodeBudget
from moderator.images.formats import sniff
from moderator.images.open_source import open_source
from tests.support.browser import Browser, open_browser
from tests.support.random_animations import make_animation
from tests.support.service import DEMO

LIMITS = DecodeLimits(max_bytes=25_000_000, max_pixels=80_000_000, max_frames=16, timeout=60.0)
#: Largest mean difference between a picture judged and the browser's, in levels of 255.
MEAN_ERROR = 1.0
#: Where the two decoders or converters are not the same code; where the browser leaves the last rows in front of the
#: damage open; and where its decoder for single frames takes the range of samples for another.
MEAN_ERRORS = {
    "avif": 2.0,
    "webp": 2.0,
    "jpeg-without-end": 4.0,
    "png-wrong-checksum": 40.0,
    "middle-frame-avif": 12.0,
}
#: Between a picture judged and the one that a trick was made from, which may have lost colours on the way.
TRICK_ERROR = 8.0
ANIMATIONS = 500
#: Largest difference of a single sample of a random animation, in levels of 255.
SAMPLE_ERROR = 2
#: The frame that is shown longest, of the tricks that are animations; the rest are stills.
ANIMATED = ("gif", "frame", "of-300", "of-2002", "announced", "restored")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pictures() -> tuple[Image.Image, Image.Image]:
    """A photograph with dark and bright parts, and another."""
    return tuple(make_square(Image.open(DEMO / name)) for name in ("red-panda.jpg", "coffee.jpg"))  # type: ignore[return-value]


def mean_error(first: np.ndarray, second: np.ndarray) -> float:
    if first.shape != second.shape:
        return float("inf")
    return float(np.abs(first.astype(int) - second).mean())


def is_animated(name: str) -> bool:
    return any(part in name for part in ANIMATED) and name != "gif-truncated"


def nearest(decoded: DecodedImage, shown: np.ndarray) -> float:
    return min(mean_error(np.asarray(frame), shown) for frame in decoded.frames)


@pytest.mark.parametrize("name", [name for name in TRICKS if not is_animated(name)])
def test_what_a_still_shows_is_judged(
    browser: Browser, pictures: tuple[Image.Image, Image.Image], name: str
) -> None:
    """The first image judged is the one on a white page, and one of them that on a black page."""
    file, _ = TRICKS[name](*pictures)
    decoded = decode(file, LIMITS)
    most = MEAN_ERRORS.get(name, MEAN_ERRORS.get(decoded.format, MEAN_ERROR))
    on_white = browser.show(file, decoded.format)
    on_black = browser.show(file, decoded.format, "#000000")
    assert on_white is not None
    assert on_black is not None
    assert mean_error(np.asarray(decoded.frames[0]), on_white) < most
    assert nearest(decoded, on_black) < most


@pytest.mark.parametrize("name", [name for name in TRICKS if is_animated(name)])
def test_the_frame_shown_longest_is_judged(
    browser: Browser, pictures: tuple[Image.Image, Image.Image], name: str
) -> None:
    file, visible = TRICKS[name](*pictures)
    decoded = decode(file, LIMITS)
    count, frames = browser.frames(file, decoded.format, most=20)
    most = MEAN_ERRORS.get(name, MEAN_ERRORS.get(decoded.format, MEAN_ERROR))
    assert nearest(decoded, np.asarray(visible)) < TRICK_ERROR, "the trick shows what it says"
    if count <= 20:
        longest = max(frames, key=lambda frame: frame.seconds)
        assert nearest(decoded, longest.on_white) < most
        assert nearest(decoded, longest.on_black) < most
    for frame in (frames[0], frames[-1]) if count <= 20 else frames[:1]:
        assert nearest(decoded, frame.on_white) < most


def test_random_animations_are_composed_as_the_browser_does(browser: Browser) -> None:
    wrong = [number for number in range(ANIMATIONS) if differs(browser, number)]
    assert wrong == []


def differs(browser: Browser, number: int) -> bool:
    name, file = make_animation(number)
    count, shown = browser.frames(file, name)
    source = open_source(file, sniff(file), DecodeBudget(10**6, 60.0), None)
    if source.total != count or len(shown) != count:
        return True
    for frame, (index, _, image) in zip(shown, source.frames(), strict=True):
        picture = source.picture(index, image)
        for background, pixels in ((WHITE, frame.on_white), (BLACK, frame.on_black)):
            seen = (
                picture.rgb
                if picture.alpha is None
                else on_background(picture.rgb, picture.alpha, background)
            )
            if np.abs(np.asarray(seen).astype(int) - pixels).max() > SAMPLE_ERROR:
                return True
    return False
