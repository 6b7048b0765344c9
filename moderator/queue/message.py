"""The Celery message around an event, written without Celery.

So that an event enters the ledger and the queue in one atomic step, and a client needs no Celery. The format is
Celery's message protocol 2 in kombu's Redis envelope; an integration test has a real worker read it.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from moderator.errors import EventInvalid
from moderator.queue.names import TASK

#: The header that says how many images a message has, so that a worker takes as many messages as it has room for.
IMAGES = "images"


def encode_message(body: Any, queue: str) -> str:
    """The list element that a Celery worker on `queue` takes as a call of the task with `body` as its argument."""
    task_id = str(uuid4())
    call = [[body], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    return json.dumps(
        {
            "body": base64.b64encode(json.dumps(call).encode()).decode(),
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
                IMAGES: _count_images(body),
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
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
        }
    )


def decode_message(message: bytes) -> Any:
    """The task's argument, from a list element in message protocol 1 or 2.

    Raises:
        EventInvalid: it is no Celery message with one argument.
    """
    try:
        envelope = json.loads(message)
        body = envelope["body"]
        if envelope.get("properties", {}).get("body_encoding") == "base64":
            body = base64.b64decode(body)
        call = json.loads(body)
        args = call["args"] if isinstance(call, dict) else call[0]
        return args[0]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise EventInvalid(f"not a Celery message for {TASK}: {type(error).__name__}: {error}") from error


def _count_images(body: Any) -> int:
    """1 for what is no event, too: a worker has to take it to find out."""
    images = body.get("images") if isinstance(body, Mapping) else None
    return len(images) if isinstance(images, list) else 1
