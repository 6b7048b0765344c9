"""Word lists: whole words, whatever their case and form of writing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import SignalFailed
from moderator.signals.words import MAX_WORDS, WordList, normal, parse_words


def found(words: list[str], line: str) -> list[str]:
    return list(WordList(words).find(line))


@pytest.mark.parametrize(
    ("word", "line", "expected"),
    [
        ("money", "FREE MONEY!", True),
        ("money", "moneyed", False),
        ("money", "a-money_b", True),
        ("ass", "class of Assam", False),
        ("ass", "class, ass", True),  # the second place counts, too
        ("free money", "get  free   money", True),
        ("STRASSE", "straße", True),  # case folding, not lower case
        ("fi", "the ﬁ sign", True),  # a ligature, by NFKC
        ("cafe\u0301", "CAFÉ", True),  # decomposed and composed
        ("caf", "café", False),
        ("caf", "cafe\u0301".replace("e", "q"), False),
        ("money", "mo\u200bney", True),  # a zero-width space
        ("ｍｏｎｅｙ", "money", True),  # full width
        ("賭博", "不要賭博了", True),  # no spaces between words
        ("50", "150 of 500", False),
        ("c++", "C++ here", True),
    ],
)
def test_words(word: str, line: str, expected: bool) -> None:
    assert bool(found([word], line)) is expected


def test_words_are_told_as_the_list_writes_them() -> None:
    assert found(["Free  Money", "other", "FREE MONEY"], "free money") == ["Free Money"]


@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_word_between_spaces_is_found(word: str, before: str, after: str) -> None:
    if any(c.isalnum() for c in normal(word)):
        assert found([word], f"{before} {word} {after}")


@given(st.text(max_size=60))
def test_the_normal_form_is_stable(text: str) -> None:
    assert normal(normal(text)) == normal(text)


@pytest.mark.parametrize("words", [[], ["..."], ["\u200b"], [f"w{n}" for n in range(MAX_WORDS + 1)]])
def test_lists_that_cannot_be_meant(words: list[str]) -> None:
    with pytest.raises(SignalFailed):
        WordList(words)


def test_a_file_of_words() -> None:
    assert parse_words("\ufeff# comment\r\nfree money\n\n  #hash tag \n".encode()) == [
        "free money",
        "#hash tag",
    ]
    for content in (b"\xff", b"a" * 201):
        with pytest.raises(SignalFailed):
            parse_words(content)
