"""The dead-letter scripts of `moderator/queue/lua/` in Python; see `memory_scripts`."""

from moderator.testing.memory_common import EVIDENCE_FIELDS, Words, add_bytes, deliver, digest, enter, seconds
from moderator.testing.memory_store import Hash, List, MemoryStore, SortedSet, String


def replay(store: MemoryStore, keys: Words, args: Words) -> bytes:
    """See `replay.lua`."""
    pending, queue, size, letters, letter, record, verdict = keys
    key, died_at, message, lease, event = args
    store.require((pending, SortedSet), (queue, List), (letters, SortedSet))
    if not _died(store, letter, died_at):
        return b"gone"
    answer = b"replayed"
    if store.holds(verdict, String):
        if store.at(letter, Hash).get(b"verdict") != digest(store.at(verdict, String)):
            answer = b"answered"
    elif store.holds(record, Hash):
        answer = b"pending"
    if answer == b"replayed":
        store.at(queue, List).appendleft(message)
        store.delete(verdict)
        enter(store, record, event, queue, len(message) + len(event))
        store.at(pending, SortedSet)[key] = store.now() + float(lease)
        add_bytes(store, size, len(message) + len(event))
    _forget_letter(store, letters, letter, key)
    return answer


def redeliver(store: MemoryStore, keys: Words, args: Words) -> int:
    """See `redeliver.lua`."""
    letters, letter, deliveries, record = keys
    key, died_at, delivery = args
    store.require((letters, SortedSet), (deliveries, SortedSet))
    if not _died(store, letter, died_at):
        return 0
    kept = store.at(letter, Hash)
    named = {b"url": b"webhook", b"body": b"raw", **{field: field for field in EVIDENCE_FIELDS}}
    fields = {field: kept[name] for field, name in named.items() if name in kept}
    deliver(store, deliveries, record, delivery, fields)
    return _forget_letter(store, letters, letter, key)


def drop(store: MemoryStore, keys: Words, args: Words) -> int:
    """See `drop.lua`."""
    letters, letter = keys
    key, died_at = args
    store.require((letters, SortedSet))
    if store.kind(letter) == b"none":
        return 0
    if store.holds(letter, Hash) and not _died(store, letter, died_at):
        return 0
    return _forget_letter(store, letters, letter, key)


def bury(store: MemoryStore, keys: Words, args: Words) -> int:
    """See `bury.lua`."""
    letters, letter, *outbox = keys
    key, member, *parts = args
    store.require((letters, SortedSet), *((due, SortedSet) for due in outbox[:1]))
    fields = Hash(zip(parts[::2], parts[1::2], strict=True))
    store.set(letter, Hash({b"died_at": seconds(store.now()), **fields}))
    store.at(letters, SortedSet)[key] = store.now()
    if outbox:
        due, record = outbox
        store.at(due, SortedSet).pop(member, None)
        store.delete(record)
    return 1


def _died(store: MemoryStore, letter: bytes, died_at: bytes) -> bool:
    """Return whether a dead letter is still that of the death which the caller saw."""
    return store.holds(letter, Hash) and store.at(letter, Hash).get(b"died_at", b"") == died_at


def _forget_letter(store: MemoryStore, letters: bytes, letter: bytes, key: bytes) -> int:
    store.at(letters, SortedSet).pop(key, None)
    store.delete(letter)
    return 1
