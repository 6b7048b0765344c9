"""Statements of reasons for the DSA Transparency Database."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moderator.archive.statements import StatementWriter
from moderator.errors import PolicyInvalid, StatementInvalid
from moderator.policies.dsa_schema import CATEGORIES, COUNTRIES
from moderator.policies.loader import parse_policy
from moderator.verdicts import CategoryVerdict, Decision, PolicyFacts
from tests.support.archived import make_verdict

PLAIN = """name: market
version: 1
safe: [a cat]
categories:
  drugs: {unsafe: [a pill]}
  weapons:
    unsafe: [a gun]
"""
BLOCK = """    dsa:
      category: STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS
      decision_ground: DECISION_GROUND_INCOMPATIBLE_CONTENT
      decision_facts: The picture of the offer shows a weapon.
      incompatible_content_ground: Terms of use, section 4.2
      incompatible_content_explanation: >
        Weapons may not be offered.
"""
#: What the database requires of every statement, and which values it takes.
REQUIRED: dict[str, Callable[[Any], bool]] = {
    "decision_ground": lambda v: (
        v in ("DECISION_GROUND_ILLEGAL_CONTENT", "DECISION_GROUND_INCOMPATIBLE_CONTENT")
    ),
    "content_type": lambda v: v == ["CONTENT_TYPE_IMAGE"],
    "category": lambda v: v in CATEGORIES,
    "content_date": lambda v: re.fullmatch(r"\d{4}-\d\d-\d\d", v) is not None,
    "application_date": lambda v: re.fullmatch(r"\d{4}-\d\d-\d\d", v) is not None,
    "decision_facts": lambda v: 0 < len(v) <= 5000,
    "source_type": lambda v: v == "SOURCE_VOLUNTARY",
    "automated_detection": lambda v: v == "Yes",
    "automated_decision": lambda v: v == "AUTOMATED_DECISION_FULLY",
    "puid": lambda v: re.fullmatch(r"[A-Za-z0-9_-]{1,500}", v) is not None,
    "decision_visibility": lambda v: v == ["DECISION_VISIBILITY_CONTENT_REMOVED"],
    "incompatible_content_ground": lambda v: bool(v),
    "incompatible_content_explanation": lambda v: v == "Weapons may not be offered.",
}


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    file = tmp_path / "market" / "1.yaml"
    file.parent.mkdir()
    file.write_text(PLAIN + BLOCK)
    return tmp_path


def blocked(number: int = 3, text: str = PLAIN + BLOCK, **more: Any) -> dict[str, Any]:
    facts = PolicyFacts(name="market", version=1, digest=parse_policy(text).digest)
    return make_verdict(number, policy=facts, **more).model_dump(mode="json")


def test_a_statement_has_all_that_is_required(policies: Path) -> None:
    statement = StatementWriter(policies).write(blocked())
    assert statement is not None
    assert statement.keys() == REQUIRED.keys()
    assert [key for key, check in REQUIRED.items() if not check(statement[key])] == []
    assert statement["application_date"] == statement["content_date"] == "2026-03-01"


def test_each_verdict_has_its_own_and_always_the_same(policies: Path) -> None:
    writer = StatementWriter(policies)
    one, again, other = (writer.write(blocked(number)) for number in (3, 3, 6))
    assert one is not None
    assert other is not None
    assert one == again
    assert one["puid"] != other["puid"]


def test_only_blocks_have_one(policies: Path) -> None:
    assert StatementWriter(policies).write(blocked(1)) is None


@pytest.mark.parametrize("day", ["2026-02-30", "1999-12-31", "2026-03-02", "yesterday", 7])
def test_the_day_of_the_content_has_to_be_one(policies: Path, day: object) -> None:
    with pytest.raises(StatementInvalid, match=r"market@1: weapons: content_date"):
        StatementWriter(policies).write(blocked(metadata={"content_date": day}))


def test_the_event_may_say_when_it_was_posted(policies: Path) -> None:
    statement = StatementWriter(policies).write(blocked(metadata={"content_date": "2026-02-01"}))
    assert statement is not None
    assert statement["content_date"] == "2026-02-01"


def test_what_is_missing_is_named(policies: Path) -> None:
    writer = StatementWriter(policies)
    answers = {"drugs": CategoryVerdict(0.9, Decision.BLOCK)}
    with pytest.raises(StatementInvalid, match=r"market@1: drugs: dsa is missing"):
        writer.write(blocked(categories=answers))
    with pytest.raises(StatementInvalid, match=r"market@1: weapons: the file of that version is another"):
        writer.write(blocked(text=PLAIN))
    (policies / "market" / "1.yaml").unlink()
    with pytest.raises(StatementInvalid, match=r"market@1: .*cannot be read"):
        StatementWriter(policies).write(blocked())


def test_the_block_is_in_the_digest_only_where_it_is() -> None:
    assert "dsa" not in parse_policy(PLAIN).canonical().decode()
    assert parse_policy(PLAIN).digest != parse_policy(PLAIN + BLOCK).digest


@pytest.mark.parametrize(
    ("line", "replaced", "message"),
    [
        (
            "decision_ground: DECISION_GROUND_INCOMPATIBLE",
            "decision_ground: DECISION_GROUND_ILLEGAL",
            "dsa.illegal_content_legal_ground: is missing",
        ),
        ("STATEMENT_CATEGORY_UNSAFE", "STATEMENT_CATEGORY_SAFE", "dsa.category: .*did you mean"),
        (
            "      decision_facts: The picture of the offer shows a weapon.\n",
            "",
            "dsa.decision_facts: is missing",
        ),
        ("The picture of the offer shows a weapon.", "x" * 5001, "dsa.decision_facts: has 5001 characters"),
        ("decision_facts", "facts", "dsa.facts: unknown key"),
        ("Terms of use, section 4.2", "' '", "dsa.incompatible_content_ground: is empty"),
        (
            "category: STATE",
            "territorial_scope: [UK]\n      category: STATE",
            "dsa.territorial_scope, item 1: 'UK'",
        ),
        (
            "category: STATE",
            "decision_visibility: []\n      category: STATE",
            "dsa.decision_visibility: is an empty list",
        ),
    ],
)
def test_mistakes_in_the_block_are_named(line: str, replaced: str, message: str) -> None:
    text = PLAIN + BLOCK
    assert line in text
    with pytest.raises(PolicyInvalid, match=rf"categories\.weapons\.{message}"):
        parse_policy(text.replace(line, replaced))


def test_countries_are_those_of_the_economic_area() -> None:
    assert len(COUNTRIES) == 30
