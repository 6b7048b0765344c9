"""The page on every key of policy files, and the JSON Schema of these files."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from docs.policy_reference import field_texts, policy_reference_page, sections
from moderator.errors import PolicyInvalid
from moderator.policies.fields import MAX_CONDITION, MAX_MESSAGE
from moderator.policies.loader import parse_policy
from moderator.policies.schema import Policy

ROOT = Path(__file__).parents[3]
PAGE = policy_reference_page()
SCHEMA = Draft202012Validator(
    json.loads((files("moderator") / "data" / "schemas" / "policy.json").read_text())
)
GUNS: dict[str, Any] = {"unsafe": ["a gun"]}


def test_every_key_has_a_row_with_a_meaning() -> None:
    models = dict(sections())
    assert Policy in models.values()
    for title, model in models.items():
        section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
        for key in model.model_fields:
            (row,) = [line for line in section.splitlines() if line.startswith(f"| `{key}` |")]
            value, default, meaning = (cell.strip() for cell in row.strip("|").split(" | ")[1:])
            assert value
            assert default
            assert meaning == field_texts(model)[key] != "", (title, key)


@pytest.mark.parametrize(
    "row",
    [
        "| `block` | number above 0 and at most 1 or `never` | `0.5` |",
        "| `slope` | number at least 0.01 and at most 100 | needed |",
        "| `points` | list of 2 to 64, each list of 2, each number at least 0 and at most 1 | needed |",
        f"| `when` | text of 1 to {MAX_CONDITION} characters | none |",
        f"| `message` | text of 1 to {MAX_MESSAGE} characters | none |",
        "| `severity` | `low`, `medium`, `high`, `critical` | none |",
        "| `distance` | whole number at least 0 and at most 128 | `31` |",
    ],
)
def test_bounds_and_defaults(row: str) -> None:
    assert row in PAGE


def test_formulas() -> None:
    for formula in (
        "| softmax-sum  | sum of p over U ",
        "logit(s') = logit(s) - logit(m)",
        "logit(s') = (1 - weight) logit(s) + weight logit(probe)",
        "logit(s') = slope logit(s) + offset",
        "`and` is min, `or` is max, `not` is 1 - s",
    ):
        assert formula in PAGE


@pytest.mark.parametrize(
    "path", sorted((ROOT / "policies").glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}@{p.stem}"
)
def test_the_shipped_policies_follow_the_json_schema(path: Path) -> None:
    SCHEMA.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"categories": {"guns": {**GUNS, "block": "never", "review": 0.2, "severity": "high"}}},
        {"categories": {"guns": {**GUNS, "block": 1.1}}},
        {"categories": {"guns": {**GUNS, "review": 0}}},
        {"categories": {"guns": {**GUNS, "severity": "dire"}}},
        {"categories": {"guns": {**GUNS, "message": "x" * (MAX_MESSAGE + 1)}}},
        {"categories": {"guns": {**GUNS, "calibration": {"kind": "platt", "slope": 2, "offset": 0}}}},
        {"categories": {"guns": {**GUNS, "calibration": {"kind": "platt", "slope": -2, "offset": 0}}}},
        {"categories": {"guns": {**GUNS, "calibration": {"kind": "isotonic", "points": [[0, 0]]}}}},
        {"categories": {"guns": {**GUNS, "probe": {"signal": "x"}}}},
        {"categories": {"guns": {**GUNS, "dsa": {"category": "WEAPONS"}}}},
        {"categories": {}},
        {"version": "1"},
        {"colour": "red"},
        {
            "encoders": [
                {"id": "x", "revision": "r", "preprocessing": "p", "categories": {"guns": {"block": 0.5}}}
            ]
        },
        {"encoders": [{"id": "x", "revision": "r", "preprocessing": "p", "categories": {"guns": {}}}]},
        {"encoders": [{"id": "x", "categories": {"guns": {"block": 0.5}}}]},
    ],
)
def test_the_json_schema_agrees_with_the_loader(changes: dict[str, Any]) -> None:
    policy = {"name": "p", "version": 1, "safe": ["a cup"], "categories": {"guns": GUNS}, **changes}
    try:
        parse_policy(json.dumps(policy))
        loads = True
    except PolicyInvalid:
        loads = False
    assert SCHEMA.is_valid(policy) is loads
