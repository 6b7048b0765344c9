"""Take over messages in flight of a dead worker of an earlier version, kept under names shared by all Celery apps."""

import json
from importlib.resources import files
from typing import Any

from moderator.events import Priority
from moderator.queue.connection import Redis
from moderator.queue.keys import QUEUES, SHARED_UNACKED, SHARED_UNACKED_INDEX, TASK

#: Entries checked in one step.
ENTRIES_PER_STEP = 200


def adopt_unacked(client: Redis, held_for: float) -> int:
    """Requeue our messages that were held for this many seconds; returns how many.

    Those of other apps stay: each app decides how long its own may be held.
    """
    adopt = client.register_script((files("moderator.queue") / "lua" / "adopt.lua").read_text())
    until = client.time()[0] - held_for
    at = count = 0
    while tags := client.zrangebyscore(SHARED_UNACKED_INDEX, 0, until, start=at, num=ENTRIES_PER_STEP):
        found = 0
        for tag, entry in zip(tags, client.hmget(SHARED_UNACKED, tags), strict=True):
            queue, element = _read_entry(entry)
            if queue is not None:
                keys = [SHARED_UNACKED, SHARED_UNACKED_INDEX, queue]
                found += adopt(keys=keys, args=[tag, element])
        count += found
        at += len(tags) - found
    return count


def _read_entry(entry: bytes | None) -> tuple[str | None, str]:
    """Return the queue of ours in kombu's note of a message, if any, and the message as a list element."""
    try:
        message, exchange, key = json.loads(entry or b"")
        if exchange in QUEUES.values():
            key = exchange
        if key not in QUEUES.values():
            key = QUEUES[Priority.INTERACTIVE] if _names_task(message) else None
        return key, json.dumps(message)
    except (ValueError, TypeError, RecursionError):
        return None, ""


def _names_task(message: Any) -> bool:
    headers = message.get("headers") if isinstance(message, dict) else None
    return isinstance(headers, dict) and headers.get("task") == TASK
