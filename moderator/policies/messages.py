"""Explain in plain words what is wrong with a value in a policy file and how to fix it. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from moderator.policies.calibration_schema import CALIBRATIONS, CategoryProbe
from moderator.policies.category_schema import PROBE, Category, Rule
from moderator.policies.characters import foreign, plain_letters
from moderator.policies.dsa_schema import StatementBlock
from moderator.policies.encoder_scales import CategoryScale, EncoderScales
from moderator.policies.fields import MAX_NAME, MAX_VERSION
from moderator.policies.key_examples import EXAMPLES, RANGES
from moderator.policies.pointer_schema import Canary, Pointer
from moderator.policies.schema import Policy
from moderator.policies.signal_schema import SignalEntry
from moderator.policies.view_options import MAX_VIEWS, ViewOptions
from moderator.policies.yaml_reader import Document, Fault, KeyPath
from moderator.suggestions import closest, did_you_mean
from moderator.verdicts import CategorySeverity

_BELOW_CATEGORY: dict[str, type[BaseModel]] = {"dsa": StatementBlock, "probe": CategoryProbe}


def explain(error: ValidationError, document: Document, pointers: bool) -> Iterator[Fault]:
    """Turn a validation error into faults, one for each thing to fix.

    Args:
        error: raised by a `Policy`, or by a mapping of names to `Pointer`.
        document: the file that was validated.
        pointers: whether the document is the pointer file.
    """
    details = [(_key_path(e["loc"]), e) for e in error.errors(include_url=False)]
    places = [path for path, _ in details]
    misspelt = {
        (*path[:-1], meant)
        for path, e in details
        if e["type"] == "extra_forbidden"
        and (meant := closest(str(path[-1]), _allowed(e["loc"][:-1], pointers))) is not None
    }
    for path, detail in details:
        kind = detail["type"]
        # Skip consequences of another problem in the list.
        if kind == "missing" and path in misspelt:
            continue
        if kind == "too_short" and any(len(p) > len(path) and p[: len(path)] == path for p in places):
            continue
        message: str | None
        if kind == "extra_forbidden":
            message = _unknown_key(str(path[-1]), _allowed(detail["loc"][:-1], pointers))
        else:
            written = document.written.get(path)
            message = _explain(kind, path, detail["input"], written, detail.get("ctx") or {})
        yield Fault(document.line_of(path), path, message or f"{detail['msg']}; correct the value")


def _key_path(location: KeyPath) -> KeyPath:
    """Return the keys of a location: without what pydantic adds for keys of mappings and for kinds of calibration."""
    path = [part for part in location if part != "[key]"]
    for n in range(len(path) - 1, 2, -1):
        if path[n - 1] == "calibration" and path[n] in CALIBRATIONS and path[n - 2] != "categories":
            del path[n]
            break
    return tuple(path)


def _allowed(path: KeyPath, pointers: bool) -> list[str]:
    """Return the keys that are allowed at a location."""
    if pointers:
        return list((Canary if path[-1:] == ("canary",) else Pointer).model_fields)
    category: type[BaseModel] = Category
    model: type[BaseModel] = Policy
    below: dict[str, type[BaseModel]] = {"signals": SignalEntry, "views": ViewOptions}
    if path[:1] == ("encoders",):
        path, model, category = path[2:], EncoderScales, CategoryScale
    match path:
        case ("categories", _, "calibration", kind):
            model = CALIBRATIONS[str(kind)]
        case ("categories", _, key, *_):
            model = _BELOW_CATEGORY[str(key)]
        case ("categories", _):
            model = category
        case (key, *_):
            model = below.get(str(key), model)
    return list(model.model_fields)


def _unknown_key(key: str, allowed: list[str]) -> str:
    plain = plain_letters(key).strip()
    hint = did_you_mean(plain if plain in allowed else key, allowed) or f"allowed here: {', '.join(allowed)}"
    return f"unknown key; {hint}{foreign(key)}"


def _explain(
    kind: str, path: KeyPath, value: Any, written: str | None, context: Mapping[str, Any]
) -> str | None:
    key = next((p for p in reversed(path) if isinstance(p, str)), "")
    example = EXAMPLES.get(key)
    write = f"write for example '{example}'" if example else "write a value"
    if kind == "policy":
        return str(context["problem"])
    if kind == "missing":
        return f"is missing; {write}"
    if value is None and kind in _WRONG_KIND:
        item = isinstance(path[-1], int) if path else False
        return (
            "is empty; write a text or remove the item" if item else f"is empty; {write}, or remove the key"
        )
    if kind == "string_type":
        return _not_text(value, written)
    if kind == "tuple_type":
        return f"has to be a list; {write}" if example else "has to be a list"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"has to have keys below it; {_keys_below(path)}"
    if kind == "union_tag_not_found":
        return f"has no 'kind'; {write}"
    if kind == "union_tag_invalid":
        return _unknown_choice("kind", str(context["tag"]), CALIBRATIONS)
    if kind == "enum" and key == "severity":
        return _unknown_choice(key, str(value), CategorySeverity)
    if kind == "enum":
        return _unknown_rule(str(value))
    if kind in ("int_type", "int_from_float", "float_type"):
        odd = foreign(value) if isinstance(value, str) else ""
        return f"{_shown(value, written)} is not a number as needed: {_range(key)}{odd}{_number(key, value)}"
    if kind in _OUT_OF_RANGE:
        return f"{_shown(value, written)} is out of range: {_range(key)}{_number(key, value)}"
    if kind == "bool_type":
        return f"{_shown(value, written)} is neither true nor false; {write}"
    if kind == "too_short":
        return f"is an empty list; {write}"
    if kind == "too_long":
        return (
            f"has {context['actual_length']} items; at most {context['max_length']} are allowed; shorten it"
        )
    if kind == "string_too_long":
        return f"has {len(value)} characters; at most {context['max_length']} are allowed; shorten it"
    if kind == "string_pattern_mismatch" and key == "sha256":
        return f"{_shown(value, None)} is not a digest of 64 lower-case hexadecimal digits; write what `sha256sum` says"
    if kind == "string_pattern_mismatch":
        rule = "use lower-case letters, digits and single hyphens"
        return f"{_shown(value, None)} is not a name: {rule}{foreign(str(value))}{_slug(str(value))}"
    if kind == "string_unicode":
        return "contains a character that is no text; remove it"
    return None


_OUT_OF_RANGE = {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}
_WRONG_KIND = {
    "string_type",
    "tuple_type",
    "dict_type",
    "model_type",
    "model_attributes_type",
    "enum",
    "int_type",
    "float_type",
    "bool_type",
}


def _range(key: str) -> str:
    return RANGES.get(key, "the format asks for another one")


def _keys_below(path: KeyPath) -> str:
    if not path:
        return f"write for example '{EXAMPLES['name']}' on a line of its own"
    if path[-1] in EXAMPLES:
        return f"write for example '{EXAMPLES[str(path[-1])]}'"
    key = {"categories": "unsafe", "signals": "kind"}.get(str(path[0]), "active")
    return f"write for example '{EXAMPLES[key]}' below it, indented"


def _not_text(value: Any, written: str | None) -> str:
    if isinstance(value, dict):
        return "YAML reads this as a key with a value because of the colon; put the whole text in quotes"
    if isinstance(value, list):
        return "is a list where a text is needed; remove the brackets or the extra '-'"
    meaning = "true or false" if isinstance(value, bool) else "a number"
    return f'YAML reads {written or value} as {meaning}, not as text; put it in quotes: "{written or value}"'


def _unknown_rule(rule: str) -> str:
    if rule == PROBE:
        return (
            f"'{PROBE}' takes its score from a signal, not from prompts; list one of kind '{PROBE}' in 'signals:' "
            "and write 'signal: NAME' here"
        )
    if rule == "signal":
        return "'signal' is not a rule; remove it and the prompts, and write 'signal: NAME' instead"
    hint = did_you_mean(rule, Rule) or "choose one"
    return f"'{rule[:40]}' is not a rule; {hint} (rules: {', '.join(Rule)}){foreign(rule)}"


def _unknown_choice(what: str, value: str, choices: Iterable[str]) -> str:
    hint = did_you_mean(value, choices) or "choose one"
    return f"'{value[:40]}' is not a {what}; {hint} ({', '.join(choices)}){foreign(value)}"


def _shown(value: Any, written: str | None) -> str:
    if written is not None:
        return written[:40]
    if isinstance(value, str):
        return f"'{value[:40]}'"
    return (
        "a list"
        if isinstance(value, list)
        else "a group of keys"
        if isinstance(value, dict)
        else str(value)[:40]
    )


def _number(key: str, value: Any) -> str:
    """Return the number that the author probably meant, as the end of a sentence."""
    fallback = f"; write for example '{EXAMPLES[key]}'" if key in EXAMPLES else ""
    if key == "block" and value is not True:
        fallback += ", or 'block: never' where no score is to block"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return fallback
    match = re.fullmatch(r"\s*([0-9]{1,6}(?:[.,][0-9]{1,6})?|[.,][0-9]{1,6})\s*(%?)\s*", str(value))
    if not match:
        return fallback
    number = float(match[1].replace(",", "."))
    if key in ("review", "block"):
        number = number / 100 if match[2] or 2 <= number <= 100 else number
        return f"; write {number:g}" if 0 < number <= 1 else fallback
    if key == "percent":
        return f"; write {number:g}" if 0 <= number <= 100 else fallback
    largest = MAX_VIEWS if key == "most" else MAX_VERSION if key in ("version", "active", "shadow") else 0
    return (
        f"; write {number:g}, without quotes" if 1 <= number <= largest and number.is_integer() else fallback
    )


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", plain_letters(name.lower())).strip("-")[:MAX_NAME].strip("-")
    return f"; write '{slug}'" if slug else ""
