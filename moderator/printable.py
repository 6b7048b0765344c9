"""Make text from outside printable: file names, messages, clients' input."""

from collections.abc import Callable


def printable(text: str, instead: str | Callable[[str], str] = "?", *, ascii_only: bool = False) -> str:
    """Return a text with its unprintable characters replaced: control characters, lone surrogates.

    Args:
        text: any text.
        instead: the replacement, or a function from the character to it.
        ascii_only: replace characters beyond ASCII, too.
    """
    if text.isprintable() and (text.isascii() or not ascii_only):
        return text
    return "".join(
        c
        if c.isprintable() and (c.isascii() or not ascii_only)
        else instead
        if isinstance(instead, str)
        else instead(c)
        for c in text
    )
