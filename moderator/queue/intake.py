"""The way in: an event goes into the ledger, or on this machine's disk while Redis is away.

Nothing overtakes what is spooled: while the spool holds something, what comes goes behind it. Delivery is in order,
by one process at a time. A message may be delivered twice (a crash between the ledger and the spool); the ledger
takes an event once.
"""

import logging
from collections.abc import Callable
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any

from moderator.errors import EventInvalid, QueueFull, QueueUnavailable, SpoolUnavailable
from moderator.events import Event
from moderator.queue.ledger import Acceptance, Ledger, read_body
from moderator.queue.spool import Spool

log = logging.getLogger(__name__)

#: Seconds between two tries to deliver while Redis is away.
PAUSE = 1.0
#: Messages that a call delivers before its own; what is left goes in the background.
AT_ONCE = 200
#: Messages delivered between two writes to the spool.
STEP = 100


class Intake:
    """Takes events for one ledger. Thread-safe.

    Args:
        ledger: where events belong.
        spool: where they wait while the ledger cannot be reached; None: they are refused.
    """

    def __init__(self, ledger: Ledger, spool: Spool | None) -> None:
        self._ledger = ledger
        self._spool = spool
        self._lock = Lock()
        self._thread: Thread | None = None
        self._stopped = Flag()
        # While Redis is away only the thread asks for it: callers need not wait for it each time.
        self._away = False
        if spool is not None and not spool.empty():
            self._deliver_in_background()

    def accept(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]:
        """Accept an event, or a bulk event; see `Ledger.accept`. With a spool, an outage of Redis gives `SPOOLED`.

        Raises:
            EventInvalid: it is no event.
            QueueFull: the queue has no room; nothing was accepted.
            QueueUnavailable: Redis is away and there is no spool, or (`SpoolFull`, `SpoolUnavailable`) the spool
                did not take it; nothing was accepted.
        """
        body, events = read_body(body)
        if self._spool is None:
            return self._ledger.enter(body, events)
        if not self._away and self._caught_up(self._spool):
            try:
                return self._ledger.enter(body, events)
            except QueueUnavailable as error:
                log.warning("%s; spooling", error)
                self._away = True
        try:
            self._spool.append(body, len(events))
        finally:  # also where it was full: only delivery makes room
            self._deliver_in_background()
        return [(event, Acceptance.SPOOLED) for event in events]

    def deliver(self, told: Callable[[], None] = lambda: None) -> int:
        """Deliver what is spooled, oldest first; returns how many messages.

        None are delivered while another process does it. `told` is called after each.

        Raises:
            QueueFull, QueueUnavailable: what is left stays in the spool.
        """
        return 0 if self._spool is None else self._deliver(self._spool, None, told)

    def close(self) -> None:
        """End the delivery in the background; what is left stays in the spool."""
        self._stopped.set()
        if (thread := self._thread) is not None:
            thread.join()

    def _caught_up(self, spool: Spool) -> bool:
        """Whether the spool is empty, if need be by delivering some of it."""
        if spool.empty():
            return True
        try:
            self._deliver(spool, AT_ONCE)
        except QueueUnavailable:
            self._away = True
        except QueueFull:
            return False
        return spool.empty()

    def _deliver(self, spool: Spool, most: int | None, told: Callable[[], None] = lambda: None) -> int:
        count, last = 0, 0
        with spool.delivery() as ours:
            if not ours:
                return 0
            try:
                while count != most and (entry := spool.next_after(last)) is not None:
                    try:
                        self._ledger.accept(entry.body)
                    except EventInvalid as error:  # spooled by another version
                        log.error("spooled message %d is set aside: %s", entry.number, error)
                        spool.reject(entry.number, str(error))
                    last = entry.number
                    count += 1
                    told()
                    if count % STEP == 0:
                        spool.remove_until(last)
            finally:
                if last:
                    spool.remove_until(last)
        return count

    def _deliver_in_background(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run, name="spool", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        assert self._spool is not None
        pause = PAUSE
        while not self._stopped.wait(pause):
            pause = PAUSE
            try:
                with self._lock:
                    if self._spool.empty():
                        self._away = False
                        self._thread = None
                        return
                count = self._deliver(self._spool, None)
                self._away = False
                if count:
                    log.info("delivered %d spooled messages", count)
            except QueueFull as full:
                self._away = False
                pause = full.retry_after
            except SpoolUnavailable as error:
                log.warning("%s", error)
            except QueueUnavailable:
                self._away = True
