"""Counted places for work that must not take all threads of a worker."""

from threading import Lock

from moderator.events import Priority


class Places:
    """Counts who is in. Whoever finds no place is refused at once, and does not wait in a thread that others need.

    Thread-safe.

    Args:
        limit: most places taken at once; bulk takes at most half of them, and at least one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._lock = Lock()

    def enter(self, priority: Priority) -> bool:
        """Take a place; `leave` gives it back. Return False if none is free."""
        with self._lock:
            room = self._limit if priority is Priority.INTERACTIVE else max(1, self._limit // 2)
            if self._taken >= room:
                return False
            self._taken += 1
            return True

    def leave(self) -> None:
        """Give back what `enter` took."""
        with self._lock:
            self._taken -= 1
