"""The published JSON Schemas say of a message what the service does with it."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from moderator.errors import EventInvalid
from moderator.events import MAX_IMAGES, parse_message
from moderator.verdicts import (
    CategorySeverity,
    CategoryVerdict,
    Decision,
    ErrorFacts,
    ImageFacts,
    ShadowVerdict,
    TopPrompt,
    Verdict,
)

README = (Path(__file__).parents[3] / "README.md").read_text()


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((files("moderator") / "data" / "schemas" / f"{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


EVENT, BULK_EVENT, VERDICT = map(validator, ("event", "bulk-event", "verdict"))

EVENTS: list[Any] = [
    {"image": {"path": "/x"}},
    {"image": {"path": "/x", "url": None}, "policy": None, "reply": {"webhook": None}},
    {
        "id": "a",
        "source": "s",
        "image": {"inline": "AA=="},
        "priority": "bulk",
        "metadata": {"a": [1, None, {}]},
    },
    {},
    [],
    "x",
    {"image": {}},
    {"image": {"path": None}},
    {"image": {"path": "/x", "url": "https://example.com"}},
    {"image": {"path": 1}},
    {"image": {"path": "/x", "file": "/y"}},
    {"image": "/x"},
    {"id": "", "image": {"path": "/x"}},
    {"id": None, "image": {"path": "/x"}},
    {"id": "x" * 257, "image": {"path": "/x"}},
    {"source": "", "image": {"path": "/x"}},
    {"image": {"path": "/x"}, "priority": "urgent"},
    {"image": {"path": "/x"}, "metadata": []},
    {"image": {"path": "/x"}, "reply": {"email": "a@b"}},
    {"image": {"path": "/x"}, "sent_at": 1},
]
BULK_EVENTS: list[Any] = [
    {"id": "a", "images": [{"path": "/x"}, {"url": "https://example.com/x"}]},
    {"id": "a", "images": [{"path": "/x"}] * MAX_IMAGES, "priority": "interactive", "metadata": {}},
    {"images": [{"path": "/x"}]},
    {"id": "a", "images": []},
    {"id": "a", "images": [{"path": "/x"}] * (MAX_IMAGES + 1)},
    {"id": "a", "images": {"path": "/x"}},
    {"id": "a", "images": [{"path": "/x", "url": "/y"}]},
    {"id": "a", "images": [{"path": "/x"}], "image": {"path": "/x"}},
    {"id": "a", "images": [{"path": "/x"}], "bulk": "a"},
]


def is_taken(message: Any) -> bool:
    try:
        parse_message(message)
    except EventInvalid:
        return False
    return True


@pytest.mark.parametrize(
    ("schema", "message"), [*((EVENT, one) for one in EVENTS), *((BULK_EVENT, one) for one in BULK_EVENTS)]
)
def test_what_a_schema_allows_is_taken_and_nothing_else(schema: Draft202012Validator, message: Any) -> None:
    assert schema.is_valid(message) == is_taken(message)


def test_the_tables_have_both() -> None:
    for messages in (EVENTS, BULK_EVENTS):
        assert {is_taken(message) for message in messages} == {True, False}


def test_the_examples_in_the_readme_are_valid() -> None:
    event, verdict = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", README, re.DOTALL))
    assert EVENT.is_valid(event)
    assert VERDICT.is_valid(verdict)
    assert not VERDICT.is_valid({**verdict, "decision": "quarantine"})
    assert not VERDICT.is_valid({name: value for name, value in verdict.items() if name != "decision"})


def test_what_the_service_writes_is_valid() -> None:
    category = CategoryVerdict(
        score=0.9,
        decision=Decision.BLOCK,
        top_prompts=(TopPrompt(prompt="a gun", side="unsafe", similarity=0.3, probability=0.9),),
        decided_by="guard",
    )
    verdict = Verdict(
        event_id="a/1",
        source="s",
        decision=Decision.BLOCK,
        is_safe=False,
        severity=CategorySeverity.HIGH,
        message="No weapons here.",
        categories={"weapons": category},
        image=ImageFacts(sha256="0", width=1, height=2, format="png"),
        shadow=(
            ShadowVerdict(version=1, digest="0", decision=Decision.ALLOW, categories={"weapons": category}),
        ),
        error=ErrorFacts(type="NotAnImage", message="?"),
        bulk="a",
    )
    written = json.loads(verdict.model_dump_json())
    VERDICT.validate(written)
    VERDICT.validate({**written, "a_field_of_a_later_version": 1})
