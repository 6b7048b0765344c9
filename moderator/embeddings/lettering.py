"""Text on pictures in any script: Pillow's own font, and for what it lacks the fonts of this machine."""

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

from moderator.printable import printable

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONT_SIZE_PIXELS = 15
"""Pixels."""
#: A character that no font has: what is drawn for it is drawn for all that are missing.
_NOWHERE = "\U0010fffd"
#: Of fonts that have as many of the characters, the plainest.
_FANCY = ("bold", "italic", "oblique", "serif", "mono", "condensed", "light", "thin", "black")


class Lettering:
    """Draws texts, each character in the first font that has it.

    Args:
        texts: all that will be drawn; fonts are looked for once.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._fonts: list[Font] = [ImageFont.load_default(FONT_SIZE_PIXELS)]
        wanted = {c for text in texts for c in printable(text) if not c.isspace()}
        missing = {c for c in wanted if not has(self._fonts[0], c)}
        while missing:
            found = _best(missing)
            if found is None:
                break
            font, covered = found
            self._fonts.append(font)
            missing -= covered
        self.missing = "".join(sorted(missing))
        """Characters that no font of this machine has; they are drawn as `?`."""

    def length(self, text: str) -> float:
        """Pixels that a text takes."""
        return sum(font.getlength(run) for font, run in self._runs(text))

    def draw(
        self, draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, fill: str = "black"
    ) -> None:
        """Draw a text; `at` is its left end, and the height of the line's top."""
        x, y = at
        # Fonts differ in height; letters stand on one line all the same.
        for font, run in self._runs(text):
            draw.text((x, y + FONT_SIZE_PIXELS), run, fill, font, anchor="ls")
            x += font.getlength(run)

    def _runs(self, text: str) -> Iterator[tuple[Font, str]]:
        for font, run in groupby((self._shown(c) for c in printable(text)), key=lambda pair: pair[0]):
            yield font, "".join(c for _, c in run)

    def _shown(self, character: str) -> tuple[Font, str]:
        for font in self._fonts:
            if character.isspace() or has(font, character):
                return font, character
        return self._fonts[0], "?"


def has(font: Font, character: str) -> bool:
    """Whether a font has a character, and would not draw a box instead."""
    drawn = font.getmask(character)
    box = font.getmask(_NOWHERE)
    return (drawn.size, bytes(drawn)) != (box.size, bytes(box))


def font_files() -> list[Path]:
    """The fonts of this machine, plain ones first."""
    found = [file for folder in font_folders() for file in folder.rglob("*.[to]t[fc]")]
    return sorted(found, key=lambda file: (sum(word in file.name.lower() for word in _FANCY), file.name))


def font_folders() -> list[Path]:
    """Where this system keeps fonts."""
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), Path.home() / "Library/Fonts"]
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    own = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return [Path(folder) / "fonts" for folder in (own, *shared.split(os.pathsep))]


def _best(characters: set[str]) -> tuple[Font, set[str]] | None:
    """The font that has most of some characters, and which; None if none has any."""
    best: tuple[Font, set[str]] | None = None
    for file in font_files():
        try:
            font = ImageFont.truetype(file, FONT_SIZE_PIXELS)
            covered = {c for c in characters if has(font, c)}
        except OSError:  # broken, or of bitmaps in other sizes
            continue
        if covered and (best is None or len(covered) > len(best[1])):
            best = (font, covered)
            if covered == characters:
                break
    return best
