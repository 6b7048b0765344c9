"""Suggest what a misspelt word was meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that a word probably misspells; None if none is close."""
    return next(iter(get_close_matches(word, list(choices), n=1, cutoff=0.6)), None)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return `"did you mean 'unsafe'?"` for a near miss, else an empty text."""
    choice = closest(word, choices)
    return f"did you mean '{choice}'?" if choice is not None else ""
