"""Split a queue message into its events, and process them one at a time or many side by side."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from threading import Event as Flag
from typing import Any

from moderator.errors import EventInvalid, WorkerStopping
from moderator.events import Event, parse_message
from moderator.queue.dead_letter_store import DeadLetters
from workers.worker_metrics import Metrics

log = logging.getLogger(__name__)

#: Images of a bulk message that are processed together: enough to share a thread and round trips to Redis, few enough
#: for one message to keep all decoders busy.
IMAGES_PER_GROUP = 8


class Handler:
    """Splits messages and has each event processed; a message that is no event becomes a dead letter.

    Args:
        process: processes one event or a group to its end; called from many threads.
        dead_letters: destination of messages that are no events.
        metrics: counts them.
        width: images of bulk messages in flight at once, over all messages.
        hold: returns a context in which this worker holds the events of a message, claimed or not; see `Leases.hold`.
        finished: called when a piece of work is done, whatever its outcome.
    """

    def __init__(
        self,
        process: Callable[[Sequence[Event]], None],
        dead_letters: DeadLetters,
        metrics: Metrics,
        width: int,
        hold: Callable[[Sequence[Event]], AbstractContextManager[None]] = lambda events: nullcontext(),
        finished: Callable[[], None] = lambda: None,
    ) -> None:
        self._run = process
        self._hold = hold
        self._finished = finished
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._stopping = Flag()
        # Threads for groups of local images, and for single ones that must be fetched from elsewhere first.
        self._pools = {
            group: ThreadPoolExecutor(max(1, width // group), thread_name_prefix=f"bulk-{group}")
            for group in (IMAGES_PER_GROUP, 1)
        }

    def handle(self, body: Any) -> None:
        """Process one message. When it returns, the message may be acknowledged.

        Raises:
            WorkerStopping: part of a bulk message is unprocessed; the message goes back to the queue.
        """
        try:
            events = parse_message(body)
        except EventInvalid as error:
            self._bury(body, error)
            return
        with self._hold(events):
            self._handle(events)

    def _handle(self, events: list[Event]) -> None:
        if len(events) == 1:
            self._process(events)
            return
        local = [event for event in events if event.image.url is None]
        remote = [event for event in events if event.image.url is not None]
        futures = [
            self._pools[size].submit(self._process_unless_stopping, some[at : at + size])
            for some, size in ((local, IMAGES_PER_GROUP), (remote, 1))
            for at in range(0, len(some), size)
        ]
        wait(futures)
        for future in futures:
            future.result()

    def refuse(self, raw: str, reason: str) -> None:
        """Bury an unreadable element of the queue."""
        self._bury(raw, EventInvalid(reason))

    def stop(self) -> None:
        """Start no more images of bulk messages; those in flight are finished."""
        self._stopping.set()

    def close(self) -> None:
        """End the threads."""
        for pool in self._pools.values():
            pool.shutdown(wait=True)

    def _bury(self, body: Any, error: EventInvalid) -> None:
        self._finished()
        self._metrics.count_failure(error)
        key = self._dead_letters.bury_message(body, error)
        log.warning("a message is no event; dead letter %s: %s", key, error)

    def _process(self, events: Sequence[Event]) -> None:
        try:
            self._run(events)
        finally:
            self._finished()

    def _process_unless_stopping(self, events: Sequence[Event]) -> None:
        if self._stopping.is_set():
            raise WorkerStopping("the worker is shutting down")
        self._process(events)
