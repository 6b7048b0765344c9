"""Read the JSON that senders post: bounded, and with errors that name what is missing. Pure."""

import json
from typing import Any

from moderator.errors import EventInvalid
from moderator.events import MAX_DEPTH, nested_deeper

#: Most reports in one request; senders put one to ten into it.
REPORTS_MAX = 1000
#: Most commas and opening brackets in a body: an empty list takes two characters but fifty bytes in memory.
PARTS_MAX = 100_000
#: Characters shown of a value in a message.
_SHOWN_CHARACTERS = 60


def read_json(body: bytes | str) -> Any:
    """Return what a body holds.

    Raises:
        EventInvalid: it is no JSON, or too much of it.
    """
    try:
        text = body.decode("utf-8-sig") if isinstance(body, bytes) else body
        if text.count(",") + text.count("[") + text.count("{") > PARTS_MAX:
            raise EventInvalid(f"the body has more than {PARTS_MAX} parts")
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise EventInvalid("the body is no JSON in UTF-8, or nested too deep") from error
    if nested_deeper(MAX_DEPTH, value):
        raise EventInvalid(f"the body is nested more than {MAX_DEPTH} levels deep")
    return value


def as_object(value: Any, what: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        EventInvalid: it is something else.
    """
    if not isinstance(value, dict):
        raise EventInvalid(f"{what} is no JSON object but {_shown(value)}")
    return value


def as_reports(value: Any, what: str) -> list[Any]:
    """Return a list of reports.

    Raises:
        EventInvalid: it is no list, or too long.
    """
    if not isinstance(value, list):
        raise EventInvalid(f"{what} is no list but {_shown(value)}")
    if len(value) > REPORTS_MAX:
        raise EventInvalid(f"{what} has {len(value)} entries; at most {REPORTS_MAX} are read")
    return value


def text_at(value: Any, *path: str) -> str:
    """Return the text at a path of keys.

    Raises:
        EventInvalid: there is none.
    """
    found = at(value, *path)
    if not isinstance(found, str) or not found:
        raise EventInvalid(f"{'.'.join(path)} is no text but {_shown(found)}")
    return found


def at(value: Any, *path: str) -> Any:
    """Return what is at a path of keys, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def number_at(value: Any, *path: str) -> int | None:
    """Return the number at a path of keys, which may be written as text, or None."""
    found = at(value, *path)
    if isinstance(found, str) and found.isascii() and found.isdecimal() and len(found) <= 20:
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _shown(value: Any) -> str:
    return ascii(value)[:_SHOWN_CHARACTERS]


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
