"""The page on every key of policy files, from the models that read them and the modules that score."""

import ast
import inspect
import json
from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from moderator.policies import condition_parser
from moderator.policies.calibration_schema import (
    CategoryProbe,
    IsotonicCalibration,
    PlattCalibration,
)
from moderator.policies.category_schema import Category
from moderator.policies.dsa_schema import StatementBlock
from moderator.policies.encoder_scales import CategoryScale, EncoderScales
from moderator.policies.fields import MAX_CATEGORIES, MAX_NAME, MAX_PROMPTS
from moderator.policies.pointer_schema import Canary, Pointer
from moderator.policies.schema import Policy
from moderator.policies.signal_schema import SignalEntry
from moderator.policies.view_options import ViewOptions
from moderator.scoring import allowance, conditions, final_scores, rules, score_calibration
from moderator.scoring.allowance import (
    LOGITS_OF_BORDERED,
    LOGITS_OF_LONG,
    LOGITS_PER_DOUBLING,
    PARTS_MAX,
)
from moderator.signals.signal_registry import KINDS

#: Values of a key beyond which the page says only how many there are.
VALUES_SHOWN_MAX = 6

INTRODUCTION = f"""\
# Policy reference

Every key of a policy file, with its type, bounds and default, and how scores come about. [Policies](policies.md)
explains how to write one. Generated from the code by `make docs`.

Names are lower-case letters, digits and single hyphens, at most {MAX_NAME} characters. A policy has at most
{MAX_PROMPTS:,} prompts and {MAX_CATEGORIES:,} categories. Unknown keys are refused, with the nearest known one. Editors
that check YAML can use `moderator/data/schemas/policy.json`.
"""
#: Title of each section, and the model whose keys it lists.
SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The file", Policy),
    ("categories.NAME", Category),
    ("categories.NAME.probe", CategoryProbe),
    ("categories.NAME.calibration, kind platt", PlattCalibration),
    ("categories.NAME.calibration, kind isotonic", IsotonicCalibration),
    ("categories.NAME.dsa", StatementBlock),
    ("signals, each item", SignalEntry),
    ("views", ViewOptions),
    ("encoders, each item", EncoderScales),
    ("encoders, categories.NAME", CategoryScale),
    ("active.yaml, each policy", Pointer),
    ("active.yaml, canary", Canary),
)
ALLOWANCE = f"""\
A view's log-odds are lowered by {LOGITS_PER_DOUBLING:g} for each doubling of the views of its picture besides the
whole, and those of the whole by {LOGITS_OF_BORDERED:g} where a view without its borders shows all of it better, by
{LOGITS_OF_LONG:g} where only several views together do. `view_allowance` is
subtracted from views that show a part of a picture, where it has at most {PARTS_MAX} views besides the whole."""
DECISIONS = """\
`score >= block` blocks, `review <= score < block` goes to people. In a `softmax-mean` category, an unsafe score that is
at least the safe one also blocks, or goes to people if the category never blocks: the classic recipe. A category whose
score depends on a signal that did not read all of the image goes to people unless it blocks. The severest decision of
all categories is that of the image; of several such categories, the one with the highest score gives the verdict its
scores, `severity` and `message`."""
#: What says how a score comes about, in the order of the steps: modules by their descriptions.
FORMULAS: tuple[tuple[str, tuple[ModuleType | str, ...]], ...] = (
    ("Rules and midpoint", (rules,)),
    ("Views", (allowance, ALLOWANCE)),
    ("The final score", (final_scores,)),
    ("Probe and calibration", (score_calibration,)),
    ("Conditions", (condition_parser, conditions)),
    ("Decisions", (DECISIONS,)),
)


def policy_reference_page() -> str:
    """The page."""
    lines = [INTRODUCTION]
    for title, model in sections():
        lines += [f"## {title}", "", inspect.getdoc(model) or "", "", *_table(model), ""]
    lines += ["## How a score comes about", ""]
    for title, parts in FORMULAS:
        lines += [f"### {title}", ""]
        for part in parts:
            lines += [part if isinstance(part, str) else inspect.getdoc(part) or "", ""]
    return "\n".join(lines).rstrip() + "\n"


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Title of each section, and the model whose keys it lists."""
    for title, model in SECTIONS:
        yield title, model
        if model is SignalEntry:
            for kind in sorted(KINDS.built_in):
                yield f"signals, kind {kind}", KINDS.get(kind).options_type


def _table(model: type[BaseModel]) -> Iterator[str]:
    if not model.model_fields:
        return
    schema = model.model_json_schema()
    texts = field_texts(model)
    yield "| key | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in model.model_fields.items():
        value = _described(schema["properties"][name], schema.get("$defs", {}))
        default = _default(field.get_default(call_default_factory=True))
        yield f"| `{name}` | {value} | {'needed' if field.is_required() else default} | {texts[name]} |"


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """What the strings below the fields of a model say, by field."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(definition, ast.ClassDef)
    texts: dict[str, str] = {}
    for before, after in pairwise(definition.body):
        match before, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = " ".join(text.split())
    return texts


def _default(value: Any) -> str:
    if value is None or value == () or value == "" or value == {}:
        return "none"
    if isinstance(value, BaseModel):
        return "the defaults of its keys"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return f"`{value}`"


def _described(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """The type and the bounds of a value, in words."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "const" in schema:
        return f"`{schema['const']}`"
    if len(schema.get("enum", ())) > VALUES_SHOWN_MAX:
        return f"one of {len(schema['enum'])} values"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if choices := schema.get("anyOf", schema.get("oneOf")):
        kinds = [_described(choice, definitions) for choice in choices if choice.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    match schema["type"]:
        case "number" | "integer" as kind:
            return ("number" if kind == "number" else "whole number") + _range(schema)
        case "boolean":
            return "`true` or `false`"
        case "string" if "^[0-9a-f]{64}$" in schema.get("pattern", ""):
            return "64 hexadecimal digits"
        case "string" if "pattern" in schema:
            return "name"
        case "string":
            return f"text{_count(schema, 'Length')} characters" if "maxLength" in schema else "text"
        case "array":
            inside = schema["prefixItems"][0] if "prefixItems" in schema else schema["items"]
            return f"list{_count(schema, 'Items')}, each {_described(inside, definitions)}"
    inside = schema.get("additionalProperties")
    if "properties" in schema or not isinstance(inside, dict):
        return f"keys{_count(schema, 'Properties')}, see below"
    return f"names{_count(schema, 'Properties')}, each with {_described(inside, definitions)}"


def _count(schema: dict[str, Any], what: str) -> str:
    least, most = schema.get(f"min{what}", 0), schema.get(f"max{what}")
    if least == most:
        return f" of {least}"
    if most is not None:
        return f" of {least} to {most:,}"
    return f" of {least} or more" if least else ""


def _range(schema: dict[str, Any]) -> str:
    words = {
        "exclusiveMinimum": "above",
        "minimum": "at least",
        "exclusiveMaximum": "below",
        "maximum": "at most",
    }
    found = [f"{word} {schema[key]:,.6g}" for key, word in words.items() if key in schema]
    return " " + " and ".join(found) if found else ""
