"""Helpers shared by the in-memory scripts, as `common.lua` is for those of Redis."""

from collections.abc import Sequence
from hashlib import sha1

from moderator.testing.memory_store import Hash, MemoryStore, SortedSet, String

Words = Sequence[bytes]

#: Fields of a delivery with the evidence of its verdict.
EVIDENCE_FIELDS = (b"embedding", b"tensor", b"readings")


def enter(store: MemoryStore, record: bytes, event: bytes, queue: bytes, size: int) -> None:
    """Write the record of a queued event."""
    at = seconds(store.now())
    fields = {b"event": event, b"queue": queue, b"state": b"queued", b"attempts": b"0"}
    fields |= {b"version": b"2", b"accepted_at": at, b"queued_at": at, b"size": b"%d" % size}
    store.set(record, Hash(fields))


def close(store: MemoryStore, pending: bytes, record: bytes, size: bytes, key: bytes) -> None:
    """Remove an answered event from the ledger."""
    fields = store.at(record, Hash) if store.holds(record, Hash) else Hash()
    store.delete(record)
    due = store.at(pending, SortedSet)
    due.pop(key, None)
    if not due:
        store.delete(size)
    else:
        add_bytes(store, size, -int(fields.get(b"size", 0)))


def bytes_held(store: MemoryStore, size: bytes) -> int:
    """Return the bytes of the events without a verdict."""
    return int(store.at(size, String)) if store.holds(size, String) else 0


def add_bytes(store: MemoryStore, size: bytes, count: int) -> None:
    """Add bytes to the count, or subtract them."""
    store.set(size, b"%d" % max(0, bytes_held(store, size) + count))


def deliver(
    store: MemoryStore, deliveries: bytes, record: bytes, delivery: bytes, fields: dict[bytes, bytes]
) -> None:
    """Put a verdict into the outbox of a consumer."""
    store.set(record, Hash({**fields, b"attempts": b"0", b"since": seconds(store.now())}))
    store.at(deliveries, SortedSet)[delivery] = store.now()


def digest(verdict: bytes) -> bytes:
    """Return the digest by which a dead letter recognises its verdict."""
    return sha1(verdict, usedforsecurity=False).hexdigest().encode()


def seconds(value: float) -> bytes:
    """Return a time in the form of records."""
    return b"%.6f" % value
