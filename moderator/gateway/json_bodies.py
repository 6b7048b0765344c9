"""JSON bodies of requests: what is taken, and what is refused. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from moderator.gateway.problems import RequestRefused


def media_type(headers: Mapping[str, str]) -> str:
    """Return the media type of a body in lower case, without parameters; empty if there is none.

    Raises:
        RequestRefused: its text is not UTF-8.
    """
    kind, *parameters = headers.get("content-type", "").split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise RequestRefused(415, "charset", "send the body in UTF-8")
    return kind.strip().lower()


def is_json(kind: str) -> bool:
    """Return whether a media type is of JSON."""
    return kind == "application/json" or kind.endswith("+json")


def parse_json(body: bytes | str) -> Any:
    """Return the value of a JSON text; numbers are finite, and nesting is bounded.

    Raises:
        RequestRefused: it is no JSON.
    """
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestRefused(400, "json-invalid", f"the body is no JSON: {error}") from error
