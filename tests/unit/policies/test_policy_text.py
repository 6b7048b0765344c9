"""Policies as text: written by a program, and changed without the loss of comments."""

from pathlib import Path

import pytest

from moderator.policies.fields import NEVER
from moderator.policies.loader import parse_policy
from moderator.policies.policy_text import Keys, edit_policy, policy_text

SHIPPED = sorted(Path("policies").glob("*/*.yaml"))
BASE = """\
# Why this policy exists.
name: market
version: 1
description: >-
  Things that may not
  be sold.
templates: ["a photo of {}"]
safe: [a landscape, "a plate, with food"]  # shared
categories:
  # The first one.
  weapons:
    unsafe:
      - a gun  # the word
      # Long ones.
      - a rifle
      - a sword
    safe: [a water pistol]
    review: 0.45   # from here people look
    block: 0.8
  # The last one.
  knives: {unsafe: [a knife], safe: [a spoon], block: 0.7}
# The end.
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_policy_that_is_written_reads_as_the_same(path: Path) -> None:
    policy = parse_policy(path.read_text())
    written = parse_policy(policy_text(policy))
    assert written == policy
    assert written.digest == policy.digest


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_another_version_keeps_every_other_character_of_a_shipped_policy(path: Path) -> None:
    text = path.read_text()
    assert edit_policy(text, {("version",): 77}) == text.replace(f"version: {path.stem}", "version: 77", 1)


@pytest.mark.parametrize(
    ("changes", "before", "after"),
    [
        ({("categories", "weapons", "review"): 0.5}, "review: 0.45 ", "review: 0.5 "),
        ({("categories", "weapons", "block"): NEVER}, "block: 0.8", "block: never"),
        (
            {("categories", "weapons", "midpoint"): 0.3},
            "    block: 0.8\n",
            "    block: 0.8\n    midpoint: 0.3\n",
        ),
        ({("categories", "weapons", "review"): None}, "    review: 0.45   # from here people look\n", ""),
        (
            {("categories", "weapons", "unsafe"): ("a gun", "a sword", "a dagger, drawn")},
            "      - a rifle\n      - a sword\n",
            "      - a sword\n      - 'a dagger, drawn'\n",
        ),
        (
            {("safe",): ["yes", "a landscape"]},
            '[a landscape, "a plate, with food"]',
            "['yes', a landscape]",
        ),
        ({("categories", "knives", "review"): 0.2}, "block: 0.7}", "block: 0.7, review: 0.2}"),
        (
            {("categories", "axes"): {"unsafe": ["an axe"], "block": 0.9}},
            "block: 0.7}\n",
            "block: 0.7}\n  axes:\n    unsafe:\n      - an axe\n    block: 0.9\n",
        ),
        (
            {("description",): "Short"},
            "description: >-\n  Things that may not\n  be sold.\n",
            "description: Short\n",
        ),
    ],
)
def test_a_change_leaves_the_rest_of_the_text(changes: dict[Keys, object], before: str, after: str) -> None:
    assert edit_policy(BASE, changes) == BASE.replace(before, after, 1) != BASE


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("categories", "weapons", "unsafe"), ["a sword", "a gun"]),
        (("categories", "weapons", "unsafe"), ["something else"]),
        (("categories", "knives", "safe"), None),
        (("categories", "knives"), {"unsafe": ["a blade"], "block": 0.5}),
    ],
)
def test_what_the_layout_does_not_allow_is_written_again_below_the_first_comments(
    keys: Keys, value: object
) -> None:
    text = edit_policy(BASE, {keys: value})
    assert text.startswith("# Why this policy exists.\nname: market\n")
    expected = parse_policy(BASE).model_dump(mode="json", exclude_unset=True)
    at = expected
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    if value is None:
        del at[keys[-1]]
    assert parse_policy(text).model_dump(mode="json", exclude_unset=True) == expected


def test_an_alias_changes_in_its_own_place_alone() -> None:
    text = BASE.replace("safe: [a water pistol]", "safe: &hard [a water pistol]").replace(
        "safe: [a spoon]", "safe: *hard"
    )
    policy = parse_policy(edit_policy(text, {("categories", "knives", "safe"): ["a fork"]}))
    assert policy.categories["weapons"].safe == ("a water pistol",)
    assert policy.categories["knives"].safe == ("a fork",)
