"""Find characters that are invisible or look like others, and name them, so that people can see them. Pure."""

import re
import unicodedata
from collections.abc import Iterator

from moderator.printable import printable

# Characters without a glyph that the categories in `invisible` do not cover: combining joiner, Hangul and Khmer
# fillers, Braille blank, variation selectors.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
#: A line end in YAML.
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
#: Cyrillic and Greek letters that look like Latin ones.
_LOOK_ALIKES = str.maketrans("аеорсухіјѕԁһѵкмтвнοανκτρ", "aeopcyxijsdhvkmtbhoavktp")


def invisible(character: str) -> bool:
    """Return whether a character is invisible: format and control characters, and all spaces but the plain one."""
    if character in " \t\r\n":
        return False
    kind = unicodedata.category(character)
    return kind in ("Cf", "Cc", "Zs", "Zl", "Zp") or _BLANK.match(character) is not None


def find_invisible(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield line and column, from 1, of each invisible character, and the character."""
    for number, line in enumerate(_LINE_END.split(text), 1):
        if not line.isascii():
            yield from ((number, column, c) for column, c in enumerate(line, 1) if invisible(c))


def odd_in_prompt(text: str) -> tuple[int, str] | None:
    """Return the position, from 1, and the first invisible character of a prompt, or None if it has none.

    Joiners and variation selectors belong to emoji and to scripts such as Persian: next to these they do not count.
    """
    for at, character in enumerate(text):
        if not invisible(character):
            continue
        beside = text[max(0, at - 1) : at] + text[at + 1 : at + 2]
        joins = character in "\u200c\u200d" or "\ufe00" <= character <= "\ufe0f"
        if not (joins and beside and not beside.isascii()):
            return at + 1, character
    return None


def named(character: str) -> str:
    """Return the code point and name of a character: `U+200B ZERO WIDTH SPACE`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()


def shown(text: str) -> str:
    """Return the text with unprintable characters replaced by their code points, safe to show in a terminal."""
    return printable(text, lambda c: f"<U+{ord(c):04X}>")


def plain_letters(text: str) -> str:
    """Return the text in the ASCII letters that it looks like, without accents and invisible characters."""
    visible = "".join(c for c in text if not invisible(c)).translate(_LOOK_ALIKES)
    return "".join(c for c in unicodedata.normalize("NFKD", visible) if not unicodedata.combining(c))


def foreign(text: str) -> str:
    """Return `" (with U+0430 CYRILLIC SMALL LETTER A)"` for a word that should be ASCII and is not, else `""`."""
    found = next((c for c in text if not c.isascii()), None)
    return f" (with {named(found)})" if found else ""
