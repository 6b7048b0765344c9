"""Measure the backlog for the metrics: how many events wait, and for how long the oldest has."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from moderator.queue.connection import Redis
from moderator.queue.dead_letter_store import DeadLetters
from moderator.queue.deadline import within
from moderator.queue.disabled_webhooks import DisabledWebhooks
from moderator.queue.keys import QUEUES
from moderator.queue.ledger import Ledger
from moderator.queue.outbox import read_lags
from moderator.queue.queue_metrics import OutgoingState, QueueState
from moderator.queue.stream_state import read_stream

#: Most groups of readers shown in the metrics, those most behind.
SHOWN_GROUPS = 50

#: Seconds for all queries of a reading: a scrape waits for it.
READING_SECONDS = 0.6


class Backlog:
    """Reads the state of the queues.

    A message that bypassed the ledger has no acceptance time; its age counts from when it was first seen as the
    oldest of its queue.

    Args:
        client: connection.
        ledger: source of times, counts and bytes.
        dead_letters: the dead letters to count.
        outgoing: reads how verdicts reach their consumers; None leaves that out.
    """

    def __init__(
        self,
        client: Redis,
        ledger: Ledger,
        dead_letters: DeadLetters,
        outgoing: Callable[[], OutgoingState] | None = None,
    ) -> None:
        self._redis = client
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._outgoing = outgoing
        self._seen: dict[str, tuple[bytes, float]] = {}

    def read(self) -> QueueState:
        """Return the current state.

        Raises:
            RedisError: Redis does not answer in time.
        """
        with within(READING_SECONDS):
            return self._read()

    def _read(self) -> QueueState:
        seconds, micros = self._redis.time()
        now = seconds + micros / 1e6
        depth, age, refusals = {}, {}, {}
        for queue in QUEUES.values():
            depth[queue] = int(self._redis.llen(queue))
            refusals[queue] = self._ledger.refusals(queue)
            accepted = self._ledger.oldest_accepted(queue)
            age[queue] = (
                0.0 if accepted is None else max(0.0, now - (accepted or self._first_seen(queue, now)))
            )
        return QueueState(
            depth=depth,
            oldest_age=age,
            dead_letters=len(self._dead_letters),
            pending=self._ledger.pending(),
            pending_bytes=self._ledger.pending_bytes(),
            refusals=refusals,
            outgoing=None if self._outgoing is None else self._outgoing(),
        )

    def _first_seen(self, queue: str, now: float) -> float:
        message = self._redis.lindex(queue, -1) or b""
        if self._seen.get(queue, (None, 0.0))[0] != message:
            self._seen[queue] = (message, now)
        return self._seen[queue][1]


def read_outgoing(client: Redis, disabled: DisabledWebhooks, consumers: Sequence[str]) -> OutgoingState:
    """Return how verdicts reach their consumers now."""
    stream = read_stream(client)
    groups = sorted(stream.groups, key=lambda group: (group.missed, group.oldest_age), reverse=True)
    shown = replace(stream, groups=tuple(groups[:SHOWN_GROUPS]))
    return OutgoingState(shown, len(disabled), read_lags(client, consumers))
