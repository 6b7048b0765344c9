"""Find the words and phrases of a list in a line of text."""

import unicodedata
from collections.abc import Iterable, Iterator

from moderator.errors import SignalFailed

MAX_WORDS = 20_000
#: Maximum length of a searched line, in characters.
MAX_LINE = 5_000
#: Scripts that put no spaces between words, or append suffixes: a match needs no word boundary there.
_WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR")


class WordList:
    """Words and phrases, matched as whole words regardless of case and form of writing.

    Raises:
        SignalFailed: there is no word, there are too many, or one has neither letter nor digit.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words: dict[str, str] = {}
        for word in words:
            form = normal(word)
            if not any(c.isalnum() for c in form):
                raise SignalFailed(f"'{word[:40]}' in the word list has no letter and no digit; remove it")
            self._words.setdefault(form, " ".join(word.split()))
        if not self._words:
            raise SignalFailed("there are no words to look for; write 'words: [...]' or name a file of words")
        if len(self._words) > MAX_WORDS:
            raise SignalFailed(
                f"the word list has more than {MAX_WORDS} words; split it over several signals"
            )

    def find(self, line: str) -> Iterator[str]:
        """Yield the words found in a line, as written in the list."""
        text = normal(line[:MAX_LINE])
        for form, word in self._words.items():
            at = text.find(form)
            while at >= 0:
                if not (_joined(text, at) or _joined(text, at + len(form))):
                    yield word
                    break
                at = text.find(form, at + 1)


def parse_words(content: bytes) -> list[str]:
    """Parse a list in UTF-8: one word or phrase per line; `#` at the start of a line starts a comment.

    Raises:
        SignalFailed: the content is not UTF-8, or a line is too long.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SignalFailed("the word list is not UTF-8; save it in that encoding") from error
    words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for word in words:
        if len(word) > 200:
            raise SignalFailed(
                f"'{word[:40]}...' in the word list has {len(word)} characters; 200 are allowed"
            )
    return words


def normal(text: str) -> str:
    """Return the form in which texts are compared: NFKC, case-folded, no invisible characters, single spaces."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join("".join(c for c in text if unicodedata.category(c) != "Cf").split())


def _joined(text: str, at: int) -> bool:
    """Return whether the characters on both sides of a position belong to one word."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    return _in_word(before) and _in_word(after) and not (_unspaced(before) or _unspaced(after))


def _in_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _unspaced(character: str) -> bool:
    return ord(character) > 0x0E00 and unicodedata.name(character, "").startswith(_WITHOUT_SPACES)
