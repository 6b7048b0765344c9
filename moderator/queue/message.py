"""The Celery message around an event, built without Celery. Every list element takes this form before kombu sees it.

This lets an event enter the ledger and the queue in one atomic step, and clients do without Celery. The format is
Celery's message protocol 2 in kombu's Redis envelope; in an integration test a real worker reads it.
"""

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from pydantic_core import PydanticSerializationError, to_json

from moderator.errors import EventInvalid
from moderator.queue.element import REFUSED, TEXT, Refusal, read_element
from moderator.queue.keys import TASK

#: The header with a message's number of images, so that a worker takes only as many messages as it has room for.
IMAGES = "images"


def encode_message(body: Any, queue: str) -> str:
    """Return the list element that a Celery worker on `queue` reads as a call of the task with argument `body`."""
    call, id = _to_json(_make_call([body], {})), str(uuid4())
    return _to_json(_make_envelope(call, queue, id, id, _count_images(body)))


def decode_message(message: bytes) -> Any:
    """Return the task's argument from a list element.

    Raises:
        EventInvalid: it is no Celery message with one argument.
    """
    call = read_element(message)
    if isinstance(call, Refusal):
        raise EventInvalid(call.reason)
    return call.argument


def make_canonical(element: bytes, queue: str, tag: str) -> dict[str, Any]:
    """Return the message that replaces a list element, safe for kombu and Celery to read. Pure.

    Of the element it keeps only the call's argument and its id: no run or expiry time, no callbacks, no reply
    address. An unreadable element becomes a call that carries the element and the reason, so it is kept until it has
    been dealt with, like an event. Idempotent.

    Args:
        element: anything from the list.
        queue: the list, to which kombu returns the message if it must.
        tag: kombu's name for this delivery; must be unique.
    """
    call = read_element(element)
    if isinstance(call, Refusal):
        text = _to_json(_make_call([], {REFUSED: [call.raw, call.reason]}))
        return _make_envelope(text, queue, call.id or tag, tag, 1)
    id, argument = call.id or tag, call.argument
    if isinstance(argument, dict) and "images" not in argument:
        # The id stays the same when the message is delivered again.
        argument = {"id": id, **argument}
    text = _to_json(_make_call([argument], {}))
    if '"__type__"' in text:
        # kombu would read such an object as another type, but does not look inside a text. Not always a text: a
        # worker of an earlier version, which reads only objects, may take a message that was given back.
        text = _to_json(_make_call([], {TEXT: _to_json(argument)}))
    return _make_envelope(text, queue, id, tag, _count_images(argument))


def _make_call(args: list[Any], kwargs: dict[str, Any]) -> list[Any]:
    return [args, kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


def _make_envelope(call: str, queue: str, task_id: str, tag: str, images: int) -> dict[str, Any]:
    return {
        # Not in base64, as Celery would write it: an image in its event would be encoded twice.
        "body": call,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": TASK,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
            "ignore_result": True,
            IMAGES: images,
            # Celery prints these in logs: leave out what users sent.
            "argsrepr": "(event,)",
            "kwargsrepr": "{}",
        },
        "properties": {
            "correlation_id": task_id,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "delivery_tag": tag,
        },
    }


def _to_json(value: Any) -> str:
    try:
        return to_json(value).decode()
    except PydanticSerializationError:  # a lone surrogate, which no event has: escape it
        return json.dumps(value)


def _count_images(body: Any) -> int:
    """Return the number of images; 1 if it is no event, too: a worker has to take it to find out."""
    images = body.get("images") if isinstance(body, Mapping) else None
    return max(1, len(images)) if isinstance(images, list) else 1
