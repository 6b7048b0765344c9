"""Parse conditions over categories, such as `smoking and (minor or not adult)`. Pure.

`not` binds closest, then `and`, then `or`. The tree has no `not` above a name: by De Morgan's laws, which hold exactly
for min, max and 1 - s, it moves down to the names.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from moderator.policies.fields import policy_error

AND, OR, NOT = WORDS = ("and", "or", "not")
#: Parentheses and `not` inside one another. Nobody understands more, and the parser is recursive.
MAX_NESTED = 20

_TOKEN = re.compile(r"\s*([a-z0-9]+(?:-[a-z0-9]+)*(?![\w-])|[()])")


@dataclass(frozen=True, slots=True)
class Named:
    """The score of a category, or 1 minus it."""

    name: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """The least (`and`) or the greatest (`or`) of two parts or more. No part has the same word."""

    word: str
    parts: tuple["Condition", ...]


Condition = Named | Joined


def parse_condition(text: str) -> Condition:
    """Return the tree of a condition.

    Raises:
        PydanticCustomError: the text is no condition; the message names the place and the remedy.
    """
    return _Parser(text).parse()


def names_in(condition: Condition) -> Iterator[str]:
    """Yield the categories that a condition names, in the order of the text; some may come more than once."""
    if isinstance(condition, Named):
        yield condition.name
    else:
        for part in condition.parts:
            yield from names_in(part)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._nested = 0

    def parse(self) -> Condition:
        condition = self._joined(OR, negated=False)
        if self._next is not None:
            raise _error(f"'{self._next}' after a complete condition; write 'and' or 'or' before it")
        return condition

    @property
    def _next(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, word: str) -> bool:
        found = self._next == word
        self._at += found
        return found

    def _joined(self, word: str, negated: bool) -> Condition:
        """Parse parts with `word` between them."""
        parts = [self._part(word, negated)]
        while self._take(word):
            parts.append(self._part(word, negated))
        if len(parts) == 1:
            return parts[0]
        word = {AND: OR, OR: AND}[word] if negated else word
        flat = (p.parts if isinstance(p, Joined) and p.word == word else (p,) for p in parts)
        return Joined(word, tuple(chain.from_iterable(flat)))

    def _part(self, word: str, negated: bool) -> Condition:
        return self._joined(AND, negated) if word == OR else self._unary(negated)

    def _unary(self, negated: bool) -> Condition:
        self._nested += 1
        if self._nested > MAX_NESTED:
            raise _error(f"is nested more than {MAX_NESTED} deep; make it simpler")
        if self._take(NOT):
            condition = self._unary(not negated)
        elif self._take("("):
            condition = self._joined(OR, negated)
            if not self._take(")"):
                raise _error("a parenthesis is not closed; add ')'")
        else:
            condition = Named(self._name(), negated)
        self._nested -= 1
        return condition

    def _name(self) -> str:
        name = self._next
        if name is None:
            raise _error("ends where the name of a category is needed; write for example 'smoking and minor'")
        if name in (AND, OR, ")"):
            raise _error(
                f"'{name}' where the name of a category is needed; write for example 'smoking and minor'"
            )
        self._at += 1
        return name


def _tokens(text: str) -> Iterator[str]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            odd = text[at:].split()[0][:40]
            raise _error(
                f"'{odd}' is not understood; use names of categories, {', '.join(WORDS)} in lower case, and parentheses"
            )
        yield match[1]
        at = match.end()


def _error(message: str) -> Exception:
    return policy_error(message)
