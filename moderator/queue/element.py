"""Read elements of a queue: calls of our task by any Celery client, and anything else pushed there. Pure.

Only this module reads the envelope and the body, as plain JSON. kombu's reader turns objects with the keys
`__type__` and `__value__` into other types, and both kombu and Celery raise inside their event loop on input that
they cannot read. All reading is bounded: an element may be hostile.
"""

import base64
import bz2
import json
import lzma
import math
import zlib
from dataclasses import dataclass
from typing import Any

from moderator.errors import EventInvalid
from moderator.events import nested_deeper
from moderator.queue.keys import TASK

#: Most bytes of a decompressed body: more than the largest image inside an event.
MAX_UNPACKED_BYTES = 64 * 1024 * 1024
#: Most commas and opening brackets in one JSON text: an empty list takes two characters but fifty bytes in memory.
MAX_PARTS = 100_000
#: Most levels of nesting in one JSON text; an event has fewer (`moderator.events.MAX_DEPTH`).
MAX_LEVELS = 100
#: Most characters of a message's id.
MAX_TASK_ID = 256
#: Characters kept of a message that is no event: enough to see what it was.
MAX_RAW = 4096
#: Characters shown of a value in a message.
MAX_SHOWN = 60

#: The supported text encodings, by lower-case name. Not all that Python supports: some are very slow.
CHARSETS = {
    "": "utf-8-sig",
    **dict.fromkeys(("utf-8", "utf8", "us-ascii", "ascii", "binary", "ascii-8bit"), "utf-8-sig"),
    **dict.fromkeys(("utf-16", "utf16"), "utf-16"),
    **{f"utf-{bits}{order}": f"utf-{bits}-{order}" for bits in (16, 32) for order in ("le", "be")},
    **dict.fromkeys(("utf-32", "utf32"), "utf-32"),
    **dict.fromkeys(("iso-8859-1", "latin-1", "latin1"), "latin-1"),
}

# Keys of a canonical call that carries no plain event; see `moderator.queue.message.make_canonical`.
TEXT, REFUSED = "text", "refused"


@dataclass(frozen=True)
class Refusal:
    """An unreadable element: its truncated text, the reason, and the id that a canonical message gave it."""

    raw: str
    reason: str
    id: str | None = None


@dataclass(frozen=True)
class Call:
    """A call of the task: its one argument, and the message's id if it is usable."""

    argument: Any
    id: str | None = None


def read_element(element: bytes) -> Call | Refusal:
    """Read a list element. Never raises."""
    try:
        return _read(element)
    except EventInvalid as error:
        return Refusal(element[:MAX_RAW].decode("utf-8", "backslashreplace")[:MAX_RAW], str(error))


def _read(element: bytes) -> Call | Refusal:
    envelope = _parse(_decode(element, json.detect_encoding(element), "it"), "it")
    if not isinstance(envelope, dict) or not isinstance(envelope.get("body"), str):
        raise _refuse("it is no object with a body")
    headers, properties = _object(envelope.get("headers")), _object(envelope.get("properties"))
    call = _parse(_read_body(envelope, headers, properties), "its body")
    # Message protocol 2 has the task and its id among the headers, protocol 1 in the body.
    facts = headers if "task" in headers or not isinstance(call, dict) else call
    task, id = facts.get("task"), facts.get("id")
    if task is not None and task != TASK:
        raise _refuse(f"it calls the task {_shown(task)}")
    args, kwargs = _read_arguments(call)
    usable = isinstance(id, str) and 0 < len(id) <= MAX_TASK_ID and id.isprintable()
    return _read_call(args, kwargs, id if usable else None)


def _read_body(envelope: dict[str, Any], headers: dict[str, Any], properties: dict[str, Any]) -> str:
    """Return the JSON text of the call."""
    charset = _read_charset(envelope)
    body: str = envelope["body"]
    encoding = properties.get("body_encoding")
    if encoding == "base64":
        try:
            data = base64.b64decode(body)
        except ValueError as error:
            raise _refuse(f"its body is no base64: {error}") from error
    elif encoding:
        raise _refuse(f"its body_encoding is {_shown(encoding)}; base64 or none is read")
    else:
        data = body.encode("utf-8", "surrogatepass")
        charset = "utf-8"  # of the envelope
    if compression := headers.get("compression"):
        data = _unpack(data, compression)
    return _decode(data, charset, "its body")


def _read_charset(envelope: dict[str, Any]) -> str:
    """Return the body's text encoding, from `content-encoding` or a parameter of `content-type`."""
    kind, encoding = envelope.get("content-type") or "", envelope.get("content-encoding") or ""
    if not isinstance(kind, str) or not isinstance(encoding, str):
        raise _refuse("its content-type or content-encoding is no text")
    name, *parameters = (part.strip().lower() for part in kind.split(";", 9))
    if name not in ("", "application/json"):
        raise _refuse(f"its content-type is {_shown(kind)}; application/json is read")
    given = [part.partition("=")[2].strip(' "') for part in parameters if part.startswith("charset=")]
    charset = CHARSETS.get((encoding.strip().lower() or "".join(given[:1])).replace("_", "-"))
    if charset is None:
        raise _refuse(f"its text encoding is {_shown(encoding or given[0])}; utf-8 is read")
    return charset


def _unpack(data: bytes, compression: Any) -> bytes:
    """Decompress a body; the names are kombu's, which calls zlib's format gzip."""
    unpacker: Any
    match compression:
        case "application/x-gzip" | "application/gzip" | "gzip" | "zlib" | "deflate":
            unpacker = zlib.decompressobj(wbits=47)  # either format
        case "application/x-bz2" | "bzip2" | "bzip":
            unpacker = bz2.BZ2Decompressor()
        case "application/x-lzma" | "lzma" | "xz":
            unpacker = lzma.LZMADecompressor(memlimit=2 * MAX_UNPACKED_BYTES)
        case _:
            raise _refuse(f"its compression is {_shown(compression)}; gzip, bzip2 and xz are read")
    try:
        unpacked: bytes = unpacker.decompress(data, MAX_UNPACKED_BYTES)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, MemoryError) as error:
        raise _refuse(f"its body is not compressed as {compression}: {error}") from error
    if not unpacker.eof:
        raise _refuse(f"its compressed body is cut off, or unpacks to more than {MAX_UNPACKED_BYTES} bytes")
    return unpacked


def _decode(data: bytes, charset: str, what: str) -> str:
    try:
        return data.decode(charset, "surrogatepass" if charset.startswith("utf") else "strict")
    except ValueError as error:
        raise _refuse(f"{what} is no text: {error}") from error


def _parse(text: str, what: str) -> Any:
    """Parse JSON of bounded memory and depth; accepts NaN and the infinities, which Python programs write."""
    brackets = text.count("[") + text.count("{")
    if brackets + text.count(",") > MAX_PARTS:
        raise _refuse(f"{what} has more than {MAX_PARTS} parts")
    try:
        value = json.loads(text, parse_float=_finite)
    except RecursionError as error:
        raise _refuse(f"{what} is nested more than {MAX_LEVELS} levels deep") from error
    except ValueError as error:
        raise _refuse(f"{what} is no JSON: {error}") from error
    if brackets > MAX_LEVELS and nested_deeper(MAX_LEVELS, value):
        raise _refuse(f"{what} is nested more than {MAX_LEVELS} levels deep")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:MAX_SHOWN]} is too large for a double")
    return value


def _read_arguments(call: Any) -> tuple[Any, Any]:
    """Return the arguments and the keyword arguments of a call."""
    if isinstance(call, dict):
        args, kwargs = call.get("args"), call.get("kwargs")
    elif isinstance(call, list):
        args, kwargs = (*call, None, None)[:2]
    else:
        args = kwargs = None
    return args or [], kwargs or {}


def _read_call(args: Any, kwargs: Any, id: str | None) -> Call | Refusal:
    if isinstance(args, list) and len(args) == 1 and not kwargs:
        return Call(args[0], id)
    if not args and isinstance(kwargs, dict) and len(kwargs) == 1:
        ((name, value),) = kwargs.items()
        if name == "event":
            return Call(value, id)
        if name == TEXT and isinstance(value, str):
            return Call(_parse(value, "its event"), id)
        if name == REFUSED and isinstance(value, list) and [type(part) for part in value] == [str, str]:
            return Refusal(value[0][:MAX_RAW], value[1][:MAX_RAW], id)
    raise _refuse("it has other arguments than one event")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _shown(value: Any) -> str:
    """Return a value from a message, truncated and printable."""
    return ascii(value)[:MAX_SHOWN]


def _refuse(reason: str) -> EventInvalid:
    return EventInvalid(
        f"not a Celery message for {TASK}: {reason}. Call the task with one event, or use the client"
    )
