"""Make text from outside printable: file names, messages, what a client sent."""

from collections.abc import Callable


def printable(text: str, instead: str | Callable[[str], str] = "?", *, ascii_only: bool = False) -> str:
    """Return a text with something else in place of what does not print: control characters, lone surrogates.

    Args:
        text: any.
        instead: what stands for such a character, or a function of it.
        ascii_only: treat characters beyond ASCII the same way.
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
