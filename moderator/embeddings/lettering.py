"""Text on pictures in any script: Pillow's own font, and this machine's fonts for characters that it lacks."""

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
#: A character that no font has: its glyph is the one drawn for every missing character.
_NOWHERE = "\U0010fffd"
#: Words in a file name that mark a font as less plain; among equal fonts, the plainest is chosen.
_FANCY = ("bold", "italic", "oblique", "serif", "mono", "condensed", "light", "thin", "black")


class Lettering:
    """Draws texts, each character in the first font that has it.

    Args:
        texts: all texts that will be drawn; fonts are looked up once.
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
        """Return the width of a text in pixels."""
        return sum(font.getlength(run) for font, run in self._runs(text))

    def draw(
        self, draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, fill: str = "black"
    ) -> None:
        """Draw a text; `at` is the top left corner of its line."""
        x, y = at
        # Fonts differ in height; letters share one baseline all the same.
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
    """Return whether a font has a character, and would not draw a box instead."""
    drawn = font.getmask(character)
    box = font.getmask(_NOWHERE)
    return (drawn.size, bytes(drawn)) != (box.size, bytes(box))


def font_files() -> list[Path]:
    """Return the fonts of this machine, plain ones first."""
    found = [file for folder in font_folders() for file in folder.rglob("*.[to]t[fc]")]
    return sorted(found, key=lambda file: (sum(word in file.name.lower() for word in _FANCY), file.name))


def font_folders() -> list[Path]:
    """Return the folders where this system keeps fonts."""
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), Path.home() / "Library/Fonts"]
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    own = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return [Path(folder) / "fonts" for folder in (own, *shared.split(os.pathsep))]


def _best(characters: set[str]) -> tuple[Font, set[str]] | None:
    """Return the font that covers the most of these characters, and those it covers; None if no font has any."""
    best: tuple[Font, set[str]] | None = None
    for file in font_files():
        try:
            font = ImageFont.truetype(file, FONT_SIZE_PIXELS)
            covered = {c for c in characters if has(font, c)}
        except OSError:  # broken, or a bitmap font in other sizes
            continue
        if covered and (best is None or len(covered) > len(best[1])):
            best = (font, covered)
            if covered == characters:
                break
    return best
