"""From words to the text of a policy, by flags and by an interview."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from moderator.cli.policy_interview import interview, split_words
from moderator.engine.compiler import Compiler
from moderator.errors import PolicyInvalid
from moderator.policies.loader import parse_policy
from moderator.tuning.new_policy import (
    ORDINARY,
    CategoryWords,
    PolicyWords,
    Proposals,
    category_name,
    first_text,
    next_text,
)
from moderator.tuning.vocabulary import everyday_texts, full_vocabulary
from tests.support.letter_encoder import LetterEncoder
from tests.support.policy_files import TEXT

BASE = TEXT.format(name="market", version=1, block=0.8)


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    return Compiler(LetterEncoder(), tmp_path)


def test_words_become_the_first_version() -> None:
    words = PolicyWords("pets", "No animals.", ("{}",), ["a chair", "a car"], review=0.5, block="never")
    words.categories["live-animals"] = CategoryWords(["a cat", "a dog, a puppy"], ["a plush toy"])
    policy = parse_policy(first_text(words))
    assert policy.reference == "pets@1"
    assert policy.safe == ("a chair", "a car")
    assert policy.categories["live-animals"].unsafe == ("a cat", "a dog, a puppy")
    assert policy.categories["live-animals"].review == 0.5


def test_words_that_make_no_policy_are_refused_with_the_place() -> None:
    words = PolicyWords("pets", categories={"cats": CategoryWords(["a cat", "A cat"], ["a chair"])})
    with pytest.raises(PolicyInvalid, match=r"categories.cats.unsafe, item 2: 'A cat' is already item 1"):
        first_text(words)


def test_words_are_added_to_a_version_and_its_comments_stay() -> None:
    words = PolicyWords("market", review=0.3)
    words.categories["weapons"] = CategoryWords(["a sword", "A gun"], ["a spoon"])
    text = next_text(BASE, words)
    assert text.startswith("# a comment\nname: market\n")
    category = parse_policy(text).categories["weapons"]
    assert (category.unsafe, category.safe) == (
        ("a gun", "a rifle", "a sword"),
        ("a water pistol", "a spoon"),
    )
    assert (category.review, category.block) == (0.3, 0.8)
    assert next_text(BASE, PolicyWords("market")) == BASE


def test_hard_negatives_come_from_the_vocabulary_and_the_ordinary_without_what_is_meant(
    compiler: Compiler,
) -> None:
    proposals = Proposals(compiler, ("{}",), 5)
    found = proposals.hard_negatives(["a kitchen knife"], ["a kitchen"])
    assert len(found) == 5
    assert set(found) <= set(full_vocabulary(compiler).texts)
    assert "a kitchen knife" not in found
    assert set(proposals.ordinary(["a car"])) < set(ORDINARY)
    assert "a car" not in proposals.ordinary(["A car"])


def test_the_vocabulary_names_each_thing_once(compiler: Compiler) -> None:
    vocabulary = full_vocabulary(compiler)
    assert len(vocabulary.texts) == len(set(vocabulary.texts)) == len(vocabulary.kinds) > 1150
    assert "a weapon" in vocabulary.kinds[vocabulary.texts.index("a revolver")]
    assert set(ORDINARY) <= set(everyday_texts())


def test_an_interview() -> None:
    answers = iter(
        [
            "Nothing dangerous.",
            "",  # too early
            "Sharp things!",
            "a knife; a  sword;a knife",
            "2",
            "a spoon",
            "empty",
            "",
            "",
        ]
    )
    said: list[str] = []

    def propose(unsafe: Sequence[str]) -> list[str]:
        assert unsafe == ["a knife", "a sword"]
        return ["a fork", "a dagger", "a pen"]

    words = PolicyWords("market")
    interview(words, lambda question: next(answers), said.append, propose)
    assert words.description == "Nothing dangerous."
    assert list(words.categories) == ["sharp-things"]
    category = words.categories["sharp-things"]
    assert category.unsafe == ["a knife", "a sword"]
    assert category.safe == ["a fork", "a pen", "a spoon"]
    assert category.proposed == ["a fork", "a pen"]
    assert "A policy needs at least one." in said
    assert next(answers, "all asked") == "all asked"


def test_names_and_lists_are_read_as_people_write_them() -> None:
    assert category_name("  Live Animals / Pets ") == "live-animals-pets"
    assert split_words("a, b ;; c;a, b") == ["a, b", "c"]
