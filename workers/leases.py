"""Keep this worker's events in flight from being redelivered.

A lease is short, so that the events of a dead worker come back soon; a slow image, a long queue for the model or a
large bulk message may take longer. So a worker extends the leases on all its events for as long as it makes progress.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from moderator.events import Event

log = logging.getLogger(__name__)

#: Leases, but at least seconds, without a finished event, after which this worker leaves its events to others: its
#: model may hang.
STALLED_LEASES, STALLED_SECONDS = 10, 60.0
#: Seconds after which a single event is left to others while the rest makes progress.
EVENT_HELD_MAX_SECONDS = 3600.0


@dataclass(frozen=True)
class _Held:
    key: str
    token: str
    since: float


class Leases:
    """The events that this worker holds. Thread-safe.

    Args:
        extend: takes keys and tokens; see `Ledger.extend`.
        lease: seconds.
        clock: seconds.
    """

    def __init__(
        self,
        extend: Callable[[Sequence[tuple[str, str]]], object] = lambda held: None,
        lease: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._extend = extend
        self._stalled = max(STALLED_LEASES * lease, STALLED_SECONDS)
        self._clock = clock
        # By object: an event may be here twice, once claimed and once in a redelivered message.
        self._held: dict[int, _Held] = {}
        self._lock = Lock()
        self._progress = clock()

    @contextmanager
    def hold(self, events: Sequence[Event]) -> Iterator[None]:
        """Hold the events of a message within this block; they wait their turn until they are claimed."""
        now = self._clock()
        waiting = [(event.key, "") for event in events]
        with self._lock:
            if not self._held:
                self._progress = now
            for event, (key, _) in zip(events, waiting, strict=True):
                self._held[id(event)] = _Held(key, "", now)
        try:
            if len(events) > 1:
                # The last of them may wait long, and may be due at any moment.
                self._try_to_extend(waiting)
            yield
        finally:
            self.done(events)

    def claimed(self, event: Event, key: str, token: str) -> None:
        """Note that an event was claimed under this key and with this token."""
        now = self._clock()
        with self._lock:
            if not self._held:
                self._progress = now
            self._held[id(event)] = _Held(key, token, now)

    def done(self, events: Sequence[Event]) -> None:
        """Note that events are finished here, whatever their outcome."""
        with self._lock:
            ended = [self._held.pop(id(event), None) for event in events]
            if any(ended):
                self._progress = self._clock()

    def beat(self) -> None:
        """Extend the leases on all events here; call it several times within a lease. Never raises."""
        now = self._clock()
        with self._lock:
            if now - self._progress > self._stalled:
                held, stalled = [], bool(self._held)
            else:
                held, stalled = (
                    [one for one in self._held.values() if now - one.since < EVENT_HELD_MAX_SECONDS],
                    False,
                )
        if stalled:
            log.error(
                "no event came to its end for %g s; what is here is left to other workers", self._stalled
            )
        self._try_to_extend([(one.key, one.token) for one in held])

    def _try_to_extend(self, held: Sequence[tuple[str, str]]) -> None:
        if not held:
            return
        try:
            self._extend(held)
        except (
            Exception
        ) as error:  # the next beat retries; events with expired leases are redelivered and answered once
            log.warning(
                "leases of %d events are not extended: %s: %s", len(held), type(error).__name__, error
            )
