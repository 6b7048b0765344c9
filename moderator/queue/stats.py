"""How full the queue is: the commands that ask, and the sum of their answers. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moderator.errors import RedisMisused
from moderator.queue import keys
from moderator.queue.commands import Command, ask, require_all


@dataclass(frozen=True)
class QueueStats:
    """How full the queue is. `waiting` and `refusals` are keyed by queue name."""

    pending: int
    """Accepted events without a verdict."""
    pending_bytes: int
    """Approximate bytes of these events; messages that bypassed the ledger are not counted."""
    waiting: Mapping[str, int]
    """Messages that no worker has taken."""
    refusals: Mapping[str, int]
    """Messages refused for lack of room since the server's data began."""
    dead_letters: int


def pending() -> Command[int]:
    """Count the accepted events without a verdict."""
    return ask("ZCARD", keys.PENDING)


def pending_bytes() -> Command[int]:
    """Look up the approximate bytes of these events."""
    return ask("GET", keys.PENDING_BYTES)


def refusals(queue: str) -> Command[int]:
    """Look up how many messages a queue refused for lack of room."""
    return ask("HGET", keys.REFUSALS, queue)


def ask_for_stats() -> list[Command[int]]:
    """Return the commands whose answers `read_stats` combines."""
    of_queues = [
        command for queue in keys.QUEUES.values() for command in (ask("LLEN", queue), refusals(queue))
    ]
    return [pending(), pending_bytes(), ask("ZCARD", keys.DEAD_LETTERS), *of_queues]


def read_stats(answers: Sequence[int | RedisMisused]) -> QueueStats:
    """Combine the answers to the commands of `ask_for_stats`.

    Raises:
        RedisMisused: one of them has no answer.
    """
    events, size, dead, *of_queues = require_all(answers)
    queues = list(keys.QUEUES.values())
    waiting, refused = (dict(zip(queues, of_queues[n::2], strict=True)) for n in (0, 1))
    return QueueStats(events, size, waiting, refused, dead)
