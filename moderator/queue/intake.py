"""The intake of events: into the ledger, or onto this machine's disk while Redis is unavailable.

Nothing overtakes spooled events: while the spool is not empty, new events queue behind it. One process at a time
delivers, in order. A crash between the ledger and the spool may deliver a message twice; the ledger takes an event
once.
"""

import logging
from collections.abc import Callable, Sequence
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any, Protocol

from moderator.backoff import jittered
from moderator.errors import (
    EventInvalid,
    ModeratorError,
    QueueFull,
    QueueUnavailable,
    SpoolFull,
    SpoolUnavailable,
)
from moderator.events import Event
from moderator.queue.commands import read_body
from moderator.queue.connection import CLIENT_CALL
from moderator.queue.deadline import within
from moderator.queue.records import Acceptance
from moderator.queue.spool_file import Entry, Spool

log = logging.getLogger(__name__)

#: Seconds that a caller waits for Redis: without a spool, and with one, to which many callers may then write.
CALL_SECONDS, SPOOLING_CALL_SECONDS = 2.0, 1.0
#: Seconds between two delivery attempts while Redis is unavailable; jittered, as many processes may wait for it.
DELIVERY_PAUSE_SECONDS = 1.0
#: Most messages that a call delivers before its own; a background thread delivers the rest.
MESSAGES_PER_CALL_MAX = 200
#: Seconds that a call waits for a delivery in progress: if that finds the queue full, callers should get the error
#: rather than have their events spooled.
DELIVERY_PATIENCE_SECONDS = 0.1
#: Messages delivered between two writes to the spool.
MESSAGES_PER_WRITE = 100


class Destination(Protocol):
    """Where events go: the ledger, or a way to it. Its methods raise the errors of the ledger's."""

    def accept(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]:
        """See `Ledger.accept`."""
        ...

    def enter(self, body: dict[str, Any], events: list[Event]) -> list[tuple[Event, Acceptance]]:
        """See `Ledger.enter`."""
        ...


class Intake:
    """Takes events for one ledger. Thread-safe.

    Args:
        ledger: destination of events.
        spool: holds events while the ledger is unreachable; None: they are refused.
        check: raises `EventInvalid` for the events of a message that no worker could judge.
    """

    def __init__(
        self,
        ledger: Destination,
        spool: Spool | None,
        check: Callable[[Sequence[Event]], None] = lambda events: None,
    ) -> None:
        self._check = check
        self._ledger = ledger
        self._spool = spool
        self._lock = Lock()
        self._thread: Thread | None = None
        self._stopped = Flag()
        # While Redis is unavailable only the thread polls it, so callers need not wait each time.
        self._away = False
        if spool is not None and not spool.empty():
            self._deliver_in_background()

    def accept(self, body: dict[str, Any]) -> list[tuple[Event, Acceptance]]:
        """Accept an event, or a bulk event; see `Ledger.accept`. With a spool, an outage of Redis gives `SPOOLED`.

        Raises:
            EventInvalid: it is no event, or one that no worker could judge.
            QueueFull: the queue has no room; nothing was accepted.
            QueueUnavailable: Redis is unavailable and there is no spool, or (`SpoolFull`, `SpoolUnavailable`) the
                spool refused the event; nothing was accepted.
        """
        body, events = read_body(body)
        self._check(events)
        if self._spool is None:
            with within(CALL_SECONDS):
                return self._ledger.enter(body, events)
        if not self._away:
            with within(SPOOLING_CALL_SECONDS):
                try:
                    if self._caught_up(self._spool):
                        return self._ledger.enter(body, events)
                except SpoolUnavailable:
                    raise
                except QueueUnavailable as error:
                    self._note_away(error)
        try:
            self._spool.append(body, len(events))
        except SpoolFull as error:
            why = (
                "Redis takes no events" if self._away else "what was spooled before is still being delivered"
            )
            raise SpoolFull(f"{why}, and {error}") from error
        finally:  # even if it was full: only delivery makes room
            self._deliver_in_background()
        return [(event, Acceptance.SPOOLED) for event in events]

    def deliver(self, on_delivered: Callable[[], None] = lambda: None) -> int:
        """Deliver the spooled messages, oldest first; returns how many.

        Delivers none while another process does. `on_delivered` is called after each.

        Raises:
            QueueFull, QueueUnavailable: the rest stays in the spool.
        """
        return 0 if self._spool is None else self._deliver(self._spool, None, on_delivered)

    def close(self) -> None:
        """End the background delivery; the rest stays in the spool."""
        self._stopped.set()
        if (thread := self._thread) is not None:
            thread.join(CLIENT_CALL)

    def _note_away(self, error: QueueUnavailable) -> None:
        if not self._away:
            log.warning("%s; spooling", error)
        self._away = True

    def _note_back(self) -> None:
        self._away = False

    def _caught_up(self, spool: Spool) -> bool:
        """Return whether the spool is empty, after delivering some of it if necessary.

        Raises:
            QueueFull: there is no room for the spooled messages, so none for a new one either.
            QueueUnavailable: Redis is unavailable, or (`SpoolUnavailable`) the spool is unusable.
        """
        if spool.empty():
            return True
        try:
            self._deliver(spool, MESSAGES_PER_CALL_MAX, patience=DELIVERY_PATIENCE_SECONDS)
        except QueueFull as full:
            self._deliver_in_background()
            raise QueueFull(
                "the queue has no room for what is spooled already, so this event was not accepted. Submit again in "
                f"{full.retry_after:.1f} s; more workers, MODERATOR_QUEUE_LIMIT or MODERATOR_QUEUE_BYTES make room "
                "for more",
                full.retry_after,
            ) from full
        return spool.empty()

    def _deliver(
        self,
        spool: Spool,
        most: int | None,
        on_delivered: Callable[[], None] = lambda: None,
        patience: float = 0.0,
    ) -> int:
        count, last = 0, 0
        with spool.delivery(patience) as ours:
            if not ours:
                return 0
            try:
                while count != most and (entry := spool.next_after(last)) is not None:
                    self._deliver_entry(spool, entry)
                    last = entry.number
                    count += 1
                    on_delivered()
                    if count % MESSAGES_PER_WRITE == 0:
                        spool.remove_until(last)
            finally:
                if last:
                    spool.remove_until(last)
        return count

    def _deliver_entry(self, spool: Spool, entry: Entry) -> None:
        """Deliver a message, or set it aside if no queue will ever take it: it must not block the others."""
        try:
            self._ledger.accept(entry.body)
        except EventInvalid as error:  # spooled by another version, or damaged
            problem = str(error)
        except ModeratorError:  # not the message's fault
            raise
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        else:
            return
        log.error("spooled message %d is set aside: %s", entry.number, problem)
        spool.reject(entry.number, problem)

    def _deliver_in_background(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run, name="spool", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        assert self._spool is not None
        pause = jittered(DELIVERY_PAUSE_SECONDS)
        while not self._stopped.wait(pause):
            pause = jittered(DELIVERY_PAUSE_SECONDS)
            try:
                with self._lock:
                    if self._spool.empty():
                        self._note_back()
                        self._thread = None
                        return
                count = self._deliver(self._spool, None, self._note_back)
                self._note_back()
                if count:
                    log.info("delivered %d spooled messages", count)
            except QueueFull as full:
                self._note_back()
                pause = full.retry_after + jittered(DELIVERY_PAUSE_SECONDS)
            except SpoolUnavailable as error:
                log.warning("%s", error)
            except QueueUnavailable as error:
                self._note_away(error)
            except ModeratorError as error:  # an unusable server, say: until an operator configures another
                log.error("%s", error)
