"""What the scripts in memory have in common, as `common.lua` for those of Redis."""

from collections.abc import Sequence
from hashlib import sha1

from moderator.testing.memory_store import Hash, MemoryStore, SortedSet, String

Words = Sequence[bytes]

#: What a delivery carries of what its verdict was made from.
EVIDENCE_FIELDS = (b"embedding", b"tensor", b"readings")


def enter(store: MemoryStore, record: bytes, event: bytes, queue: bytes, size: int) -> None:
    """Write the record of an event that is on a queue."""
    at = seconds(store.now())
    fields = {b"event": event, b"queue": queue, b"state": b"queued", b"attempts": b"0"}
    fields |= {b"version": b"2", b"accepted_at": at, b"queued_at": at, b"size": b"%d" % size}
    store.set(record, Hash(fields))


def close(store: MemoryStore, pending: bytes, record: bytes, size: bytes, key: bytes) -> None:
    """Take an event that is answered out of the ledger."""
    fields = store.at(record, Hash) if store.holds(record, Hash) else Hash()
    store.delete(record)
    due = store.at(pending, SortedSet)
    due.pop(key, None)
    if not due:
        store.delete(size)
    else:
        add_bytes(store, size, -int(fields.get(b"size", 0)))


def bytes_held(store: MemoryStore, size: bytes) -> int:
    """Return the bytes that events without a verdict take."""
    return int(store.at(size, String)) if store.holds(size, String) else 0


def add_bytes(store: MemoryStore, size: bytes, count: int) -> None:
    """Count further bytes, or fewer."""
    store.set(size, b"%d" % max(0, bytes_held(store, size) + count))


def deliver(
    store: MemoryStore, deliveries: bytes, record: bytes, delivery: bytes, fields: dict[bytes, bytes]
) -> None:
    """Put a verdict into the outbox of a consumer."""
    store.set(record, Hash({**fields, b"attempts": b"0", b"since": seconds(store.now())}))
    store.at(deliveries, SortedSet)[delivery] = store.now()


def digest(verdict: bytes) -> bytes:
    """Return the digest by which a dead letter knows its verdict."""
    return sha1(verdict, usedforsecurity=False).hexdigest().encode()


def seconds(value: float) -> bytes:
    """Return a time as records keep it."""
    return b"%.6f" % value
