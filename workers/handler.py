"""From a queue message to its events: one at a time, or many side by side."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event as Flag
from typing import Any

from moderator.errors import EventInvalid, WorkerStopping
from moderator.events import Event, parse_message
from moderator.metrics import Metrics
from moderator.queue.dead_letters import DeadLetters
from moderator.queue.names import TASK

log = logging.getLogger(__name__)


class Handler:
    """Takes messages apart and has each event processed; a message that is no event becomes a dead letter.

    Args:
        process: takes one event to its end; called from many threads.
        dead_letters: where messages go that are no events.
        metrics: counts them.
        width: images of bulk messages in hand at once, over all messages.
    """

    def __init__(
        self, process: Callable[[Event], None], dead_letters: DeadLetters, metrics: Metrics, width: int
    ) -> None:
        self._process = process
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._stopping = Flag()
        self._pool = ThreadPoolExecutor(width, thread_name_prefix="bulk")

    def handle(self, body: Any) -> None:
        """Deal with one message. When it returns, the message may be acknowledged.

        Raises:
            WorkerStopping: part of a bulk message is left; the message goes back to the queue.
        """
        try:
            events = parse_message(body)
        except EventInvalid as error:
            self._bury(body, error)
            return
        if len(events) == 1:
            self._process(events[0])
            return
        futures = [self._pool.submit(self._process_unless_stopping, event) for event in events]
        wait(futures)
        for future in futures:
            future.result()

    def refuse(self, raw: Any) -> None:
        """Bury what is on the queue and is no Celery message."""
        self._bury(raw, EventInvalid(f"not a Celery message; call the task {TASK}, or use the client"))

    def stop(self) -> None:
        """Start no more images of bulk messages; those in hand are finished."""
        self._stopping.set()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True)

    def _bury(self, body: Any, error: EventInvalid) -> None:
        self._metrics.count_failure(error)
        key = self._dead_letters.bury_message(body, error)
        log.warning("a message is no event; dead letter %s: %s", key, error)

    def _process_unless_stopping(self, event: Event) -> None:
        if self._stopping.is_set():
            raise WorkerStopping("the worker is shutting down")
        self._process(event)
