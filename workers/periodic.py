"""A thread that does something periodically and survives any error."""

import logging
from collections.abc import Callable
from threading import Event, Thread

log = logging.getLogger(__name__)


class Periodic:
    """Calls `work` every `seconds` from its own thread; an error is logged and the next call retries.

    The first call comes after `seconds`, or immediately with `at_once`.
    """

    def __init__(
        self, name: str, seconds: float, work: Callable[[], object], *, at_once: bool = False
    ) -> None:
        self._seconds = seconds
        self._work = work
        self._first = 0.0 if at_once else seconds
        self._stopped = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the current call."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        wait = self._first
        while not self._stopped.wait(wait):
            wait = self._seconds
            try:
                self._work()
            except Exception as error:
                log.warning("%s: %s: %s", self._thread.name, type(error).__name__, error)
