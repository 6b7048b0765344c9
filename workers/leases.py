"""Keeps the events that this worker has from being given out again while it has them.

A lease is short, so that what a dead worker had comes back soon; a slow image, a long queue before the model or a
large bulk message may take longer. So the leases of all that is here are extended as long as the worker gets on.
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

#: Leases, but at least seconds, without an event coming to its end, after which what is here is left to others: the
#: model hangs, say.
STALLED_LEASES, STALLED_SECONDS = 10, 60.0
#: Seconds after which one event alone is left to others, while the rest gets on.
EVENT_HELD_MAX_SECONDS = 3600.0


@dataclass(frozen=True)
class _Held:
    key: str
    token: str
    since: float


class Leases:
    """What this worker has. Thread-safe.

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
        # By object: the same event may be here twice, once claimed and once in a message that was delivered again.
        self._held: dict[int, _Held] = {}
        self._lock = Lock()
        self._progress = clock()

    @contextmanager
    def hold(self, events: Sequence[Event]) -> Iterator[None]:
        """Within this block the events of a message are here, and wait their turn until they are claimed."""
        now = self._clock()
        waiting = [(event.key, "") for event in events]
        with self._lock:
            if not self._held:
                self._progress = now
            for event, (key, _) in zip(events, waiting, strict=True):
                self._held[id(event)] = _Held(key, "", now)
        try:
            if len(events) > 1:
                # The last of them may wait for long, and may be due any moment.
                self._try_to_extend(waiting)
            yield
        finally:
            self.done(events)

    def claimed(self, event: Event, key: str, token: str) -> None:
        """An event is claimed, under this key and with this token."""
        now = self._clock()
        with self._lock:
            if not self._held:
                self._progress = now
            self._held[id(event)] = _Held(key, token, now)

    def done(self, events: Sequence[Event]) -> None:
        """Events are at their end here, whatever it was."""
        with self._lock:
            ended = [self._held.pop(id(event), None) for event in events]
            if any(ended):
                self._progress = self._clock()

    def beat(self) -> None:
        """Extend the leases of all that is here; to be called several times within a lease. Raises nothing."""
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
        ) as error:  # the next beat tries again; what runs out is given out again and answered once
            log.warning(
                "leases of %d events are not extended: %s: %s", len(held), type(error).__name__, error
            )
