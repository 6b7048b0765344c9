"""In-memory keys and typed values like those of Redis, limited to what the queue needs."""

import time
from collections import Counter, deque
from collections.abc import Callable
from math import inf
from typing import TypeVar

from redis.exceptions import ResponseError


class SortedSet(dict[bytes, float]):
    """Members and their scores."""

    def ordered(self) -> list[bytes]:
        """Return the members by score."""
        return sorted(self, key=lambda member: (self[member], member))


class Hash(dict[bytes, bytes]):
    """Fields and their values."""


class List(deque[bytes]):
    """A queue: pushed at the left, taken at the right."""


class Stream:
    """Entries with growing ids. As in Redis, an empty stream stays."""

    def __init__(self) -> None:
        self.entries: list[tuple[tuple[int, int], Hash]] = []
        self.added = 0
        self._last = (0, 0)

    def add(self, now: float, fields: Hash, keep: int) -> None:
        """Append an entry, and trim the stream to `keep` entries."""
        ms = int(now * 1000)
        self._last = (ms, 0) if ms > self._last[0] else (self._last[0], self._last[1] + 1)
        self.entries.append((self._last, fields))
        self.added += 1
        del self.entries[: max(0, len(self.entries) - keep)]


String = bytes
V = TypeVar("V")

KINDS: dict[type[object], bytes] = {
    SortedSet: b"zset",
    Hash: b"hash",
    List: b"list",
    Stream: b"stream",
    String: b"string",
}


class MemoryStore:
    """The keys of one database.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.now = clock
        self.published: Counter[bytes] = Counter()
        """Messages by channel."""
        self._values: dict[bytes, object] = {}
        self._ends: dict[bytes, float] = {}

    def kind(self, key: bytes) -> bytes:
        """Return the answer of `TYPE` for a key."""
        value = self._values.get(key)
        gone = value is None or (isinstance(value, SortedSet | Hash | List) and not value)
        if gone or self._ends.get(key, inf) < self.now():
            self.delete(key)
            return b"none"
        return KINDS[type(value)]

    def holds(self, key: bytes, kind: type[object]) -> bool:
        """Return whether a key holds a value of this kind."""
        return self.kind(key) == KINDS[kind]

    def find(self, key: bytes, kind: type[V]) -> V | None:
        """Return the value of a key, or None if it has none.

        Raises:
            ResponseError: it is of another kind.
        """
        self.require((key, kind))
        value = self._values.get(key)
        assert value is None or isinstance(value, kind)
        return value

    def at(self, key: bytes, kind: type[V]) -> V:
        """Return the value of a key, creating it if missing.

        Raises:
            ResponseError: it is of another kind.
        """
        value = self.find(key, kind)
        if value is None:
            self._values[key] = value = kind()
        return value

    def require(self, *expected: tuple[bytes, type[object]]) -> None:
        """Raise `ResponseError` if a key holds a value of the wrong type."""
        for key, kind in expected:
            found = self.kind(key)
            if found not in (b"none", KINDS[kind]):
                raise ResponseError(
                    f"WRONGTYPE {key.decode()} holds a {found.decode()}, not a {KINDS[kind].decode()}"
                )

    def set(self, key: bytes, value: object, seconds: float | None = None) -> None:
        """Set the value of a key, whatever it held; it expires after `seconds`."""
        self.delete(key)
        self._values[key] = value
        if seconds is not None:
            self._ends[key] = self.now() + seconds

    def delete(self, *keys: bytes) -> None:
        """Remove keys."""
        for key in keys:
            self._values.pop(key, None)
            self._ends.pop(key, None)
