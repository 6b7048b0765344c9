"""How full the queue is: the questions, and what the answers say together. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moderator.errors import RedisMisused
from moderator.queue import keys
from moderator.queue.commands import Command, ask, require_all


@dataclass(frozen=True)
class QueueStats:
    """How full the queue is. `waiting` and `refusals` are by the name of a queue."""

    pending: int
    """Accepted events without a verdict."""
    pending_bytes: int
    """About how many bytes they take; what came past the ledger is not counted."""
    waiting: Mapping[str, int]
    """Messages that no worker has taken."""
    refusals: Mapping[str, int]
    """Messages that found no room since the server's data began."""
    dead_letters: int


def pending() -> Command[int]:
    """Count the accepted events without a verdict."""
    return ask("ZCARD", keys.PENDING)


def pending_bytes() -> Command[int]:
    """Look up about how many bytes they take."""
    return ask("GET", keys.PENDING_BYTES)


def refusals(queue: str) -> Command[int]:
    """Look up how many messages found no room on a queue."""
    return ask("HGET", keys.REFUSALS, queue)


def ask_for_stats() -> list[Command[int]]:
    """Ask for all that `read_stats` puts together."""
    of_queues = [
        command for queue in keys.QUEUES.values() for command in (ask("LLEN", queue), refusals(queue))
    ]
    return [pending(), pending_bytes(), ask("ZCARD", keys.DEAD_LETTERS), *of_queues]


def read_stats(answers: Sequence[int | RedisMisused]) -> QueueStats:
    """Put together what the commands of `ask_for_stats` say.

    Raises:
        RedisMisused: one of them has no answer.
    """
    events, size, dead, *of_queues = require_all(answers)
    queues = list(keys.QUEUES.values())
    waiting, refused = (dict(zip(queues, of_queues[n::2], strict=True)) for n in (0, 1))
    return QueueStats(events, size, waiting, refused, dead)
