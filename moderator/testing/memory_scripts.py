"""The ledger scripts of `moderator/queue/lua/` in Python; each Lua file documents its keys and arguments.

Records of versions before `Event.bulk` are not supported: nothing in memory is older than this process.
"""

from math import ceil, inf
from typing import Any

from moderator.testing.memory_common import (
    EVIDENCE_FIELDS,
    Words,
    add_bytes,
    bytes_held,
    close,
    deliver,
    digest,
    enter,
    seconds,
)
from moderator.testing.memory_store import Hash, List, MemoryStore, SortedSet, Stream, String


def accept(store: MemoryStore, keys: Words, args: Words) -> list[Any]:
    """See `accept.lua`."""
    pending, queue, size, refusals, stream = keys
    record_prefix, verdict_prefix, message, lease, events_max, size_max, sample, *parts = args
    store.require((pending, SortedSet), (queue, List), (refusals, Hash), (stream, Stream))
    answers, new = [], []
    for key, event in zip(parts[::2], parts[1::2], strict=True):
        if store.holds(verdict_prefix + key, String):
            answers.append(b"answered")
        elif store.holds(record_prefix + key, Hash):
            answers.append(b"pending")
        else:
            answers.append(b"accepted")
            new.append((key, event))
    if not new:
        return answers
    share = ceil(len(message) / len(new))
    adds = share * len(new) + sum(len(event) for _, event in new)
    count, held = len(store.find(pending, SortedSet) or ()), bytes_held(store, size)
    over = count + len(new) - int(events_max) if int(events_max) else 0
    if int(size_max) and held + adds > int(size_max):
        over = max(over, 1, ceil((held + adds - int(size_max)) * count / max(1, held)))
    if over > 0 and count:
        refused = store.at(refusals, Hash)
        refused[queue] = b"%d" % (int(refused.get(queue, 0)) + 1)
        return [b"full", over, seconds(_verdicts_a_second(store, stream, int(sample)))]
    store.at(queue, List).appendleft(message)
    for key, event in new:
        enter(store, record_prefix + key, event, queue, share + len(event))
        store.at(pending, SortedSet)[key] = store.now() + float(lease)
    add_bytes(store, size, adds)
    return answers


def claim(store: MemoryStore, keys: Words, args: Words) -> list[Any]:
    """See `claim.lua`."""
    pending, record, verdict, size = keys
    key, event, queue, lease, token, *_ = args
    store.require((pending, SortedSet))
    now, due = store.now(), store.at(pending, SortedSet)
    if store.holds(verdict, String):
        close(store, pending, record, size, key)
        return [b"answered"]
    if not store.holds(record, Hash):
        store.set(record, Hash({b"event": event, b"queue": queue, b"accepted_at": seconds(now)}))
    fields = store.at(record, Hash)
    same = fields.get(b"token") == token
    if fields.get(b"state") == b"started" and not same and due.get(key, 0.0) > now:
        return [b"busy"]
    lost = fields.get(b"state") == b"started" and not same
    attempt = int(fields.get(b"attempts", 0)) + (not same and not lost)
    losses = int(fields.get(b"losses", 0)) + lost
    if lost:
        fields[b"losses"] = b"%d" % losses
    fields |= {b"state": b"started", b"token": token, b"attempts": b"%d" % attempt}
    fields.pop(b"deliveries", None)
    due[key] = now + float(lease)
    waited, held_off = (
        max(0.0, now - float(fields.get(name, now))) for name in (b"accepted_at", b"held_off_since")
    )
    return [b"claimed", attempt, seconds(waited), fields.get(b"harmed", b""), seconds(held_off), b"", losses]


def publish(store: MemoryStore, keys: Words, args: Words) -> list[Any]:
    """See `publish.lua`."""
    pending, record, verdict, stream, letters, letter, webhooks, webhook, size, reply, *outbox = keys
    key, body, ttl, length, error, message, url, event, delivery, token, due, by_id, *further = args
    store.require((pending, SortedSet), (stream, Stream), (letters, SortedSet), (webhooks, SortedSet))
    _require_outbox(store, outbox)
    now = store.now()
    if store.holds(verdict, String):
        close(store, pending, record, size, key)
        return [0]
    known = store.holds(record, Hash)
    fields = store.at(record, Hash) if known else Hash()
    if due and (store.find(pending, SortedSet) or SortedSet()).get(key) != float(due):
        return [0]
    if not due and known and token and fields.get(b"token", b"") != token:
        return [0]
    store.at(stream, Stream).add(now, Hash({b"verdict": body}), int(length))
    store.set(verdict, body, int(ttl))
    if error:
        facts = {b"event": event, b"error": error, b"message": message, b"died_at": seconds(now)}
        facts |= {b"attempts": fields.get(b"attempts", b"0"), b"verdict": digest(body)}
        store.set(letter, Hash(facts))
        store.at(letters, SortedSet)[key] = now
    if url:
        deliver(store, webhooks, webhook, delivery, {b"url": url, b"body": body})
        store.set(reply, url, int(ttl))
    else:
        store.delete(reply)
    _deliver_further(store, outbox, delivery, body, further)
    close(store, pending, record, size, key)
    store.published.update([verdict, *([by_id] if by_id else [])])
    return [1, seconds(max(0.0, now - float(fields.get(b"accepted_at", now))))]


def revise(store: MemoryStore, keys: Words, args: Words) -> int:
    """See `revise.lua`."""
    verdict, stream, reply, webhooks, webhook, *outbox = keys
    seen, body, ttl, length, delivery, by_id, *further = args
    store.require((stream, Stream), (webhooks, SortedSet))
    _require_outbox(store, outbox)
    if not store.holds(verdict, String) or digest(store.at(verdict, String)) != seen:
        return 0
    store.at(stream, Stream).add(store.now(), Hash({b"verdict": body}), int(length))
    store.set(verdict, body, int(ttl))
    if store.holds(reply, String):
        url = store.at(reply, String)
        deliver(store, webhooks, webhook, delivery, {b"url": url, b"body": body})
        store.set(reply, url, int(ttl))
    _deliver_further(store, outbox, delivery, body, further)
    store.published.update({verdict, by_id})
    return 1


def _require_outbox(store: MemoryStore, outbox: Words) -> None:
    store.require(*((name, Hash) for name in outbox[:1]), *((name, SortedSet) for name in outbox[1::2]))


def _deliver_further(store: MemoryStore, outbox: Words, delivery: bytes, body: bytes, further: Words) -> None:
    """Put a verdict into the outbox of the consumers besides webhooks; see `publish.lua`."""
    if not outbox:
        return
    missed, *consumers = outbox
    most, embedding, tensor, readings, *wanted = further
    evidence = dict(zip(EVIDENCE_FIELDS, (embedding, tensor, readings), strict=True)) if embedding else {}
    for deliveries, record, wants in zip(consumers[::2], consumers[1::2], wanted, strict=True):
        if len(store.find(deliveries, SortedSet) or ()) >= int(most):
            counts = store.at(missed, Hash)
            counts[deliveries] = b"%d" % (int(counts.get(deliveries, 0)) + 1)
        else:
            deliver(store, deliveries, record, delivery, {b"body": body, **(evidence if wants else {})})


def retry(store: MemoryStore, keys: Words, args: Words) -> int:
    """See `retry.lua`."""
    pending, record = keys
    key, token, delay, harmed, counts, held_off = args
    store.require((pending, SortedSet))
    fields = store.at(record, Hash) if store.holds(record, Hash) else Hash()
    if fields.get(b"state") != b"started" or fields.get(b"token", b"") != token:
        return 0
    fields[b"state"] = b"waiting"
    del fields[b"token"]
    fields.pop(b"losses", None)
    if harmed == b"1":
        fields[b"harmed"] = b"1"
    if counts == b"0":
        fields[b"attempts"] = b"%d" % max(0, int(fields.get(b"attempts", 0)) - 1)
    if held_off == b"1":
        fields.setdefault(b"held_off_since", seconds(store.now()))
    elif counts == b"1":
        fields.pop(b"held_off_since", None)
    store.at(pending, SortedSet)[key] = store.now() + float(delay)
    return 1


def extend(store: MemoryStore, keys: Words, args: Words) -> int:
    """See `extend.lua`."""
    (pending,) = keys
    record_prefix, lease, *held = args
    store.require((pending, SortedSet))
    count = 0
    for key, token in zip(held[::2], held[1::2], strict=True):
        if not store.holds(record_prefix + key, Hash):
            continue
        fields = store.at(record_prefix + key, Hash)
        expected = (b"started", token) if token else (b"queued", None)
        if (fields.get(b"state"), fields.get(b"token")) == expected:
            due = store.at(pending, SortedSet)
            if key in due:
                due[key] = store.now() + float(lease)
            count += 1
    return count


def overdue(store: MemoryStore, keys: Words, args: Words) -> list[bytes]:
    """See `overdue.lua`."""
    pending, size = keys
    record_prefix, verdict_prefix, lease, most, deliveries_max, *places = args
    store.require((pending, SortedSet))
    due, now = store.at(pending, SortedSet), store.now()
    # An empty queue holds nothing: every event put there is lost.
    oldest = {queue: float(at or inf) for queue, at in zip(places[::2], places[1::2], strict=True)}
    found: list[bytes] = []
    for key in [key for key in due.ordered() if due[key] <= now][: int(most)]:
        record, what = record_prefix + key, b"lost"
        fields = store.at(record, Hash) if store.holds(record, Hash) else Hash()
        queue = fields.get(b"queue", b"")
        if store.kind(record) == b"none":
            del due[key]
            continue
        if store.holds(verdict_prefix + key, String):
            close(store, pending, record, size, key)
            continue
        if queue not in oldest:
            what = b"unreadable"
        elif fields.get(b"state") == b"queued" and float(fields.get(b"queued_at", 0)) >= oldest[queue]:
            due[key] = now + float(lease)
            continue
        elif int(fields.get(b"deliveries", 0)) >= int(deliveries_max):
            what = b"undeliverable"
        found += [key, repr(due[key]).encode(), queue, what]
    return found


def requeue(store: MemoryStore, keys: Words, args: Words) -> int:
    """See `requeue.lua`."""
    pending, record, queue = keys
    key, due, message, lease, spread, most = args
    store.require((pending, SortedSet), (queue, List))
    found = store.at(pending, SortedSet)
    if not store.holds(record, Hash) or found.get(key) != float(due):
        return 0
    fields = store.at(record, Hash)
    fields.pop(b"token", None)
    if fields.get(b"state") == b"started":
        losses = int(fields.get(b"losses", 0)) + 1
        attempts = max(0, int(fields.get(b"attempts", 0)) - 1)
        fields |= {b"losses": b"%d" % losses, b"attempts": b"%d" % attempts}
        if losses > 1:
            fields[b"state"] = b"waiting"
            found[key] = store.now() + float(spread) * min(2**losses, float(most))
            return 0
    store.at(queue, List).appendleft(message)
    deliveries = int(fields.get(b"deliveries", 0)) + 1
    fields |= {
        b"state": b"queued",
        b"queued_at": seconds(store.now()),
        b"deliveries": b"%d" % deliveries,
    }
    found[key] = store.now() + float(lease)
    return 1


def read_on(store: MemoryStore, keys: Words, args: Words) -> list[Any]:
    """See `read_on.lua`."""
    after, most = args
    stream = store.find(keys[0], Stream) or Stream()
    first = entry_id(stream.entries[0][0]) if stream.entries else b""
    found = [
        [entry_id(entry), [part for pair in fields.items() for part in pair]]
        for entry, fields in entries_after(stream, after)[: int(most)]
    ]
    return [len(stream.entries), first, stream.added, found]


def entries_after(stream: Stream, after: bytes) -> list[tuple[tuple[int, int], Hash]]:
    """Return the entries of a stream after an id."""
    ms, _, number = after.partition(b"-")
    return [item for item in stream.entries if item[0] > (int(ms), int(number or 0))]


def entry_id(entry: tuple[int, int]) -> bytes:
    """Return an entry's id as Redis writes it."""
    return b"%d-%d" % entry


def _verdicts_a_second(store: MemoryStore, stream: bytes, sample: int) -> float:
    recent = (store.find(stream, Stream) or Stream()).entries[-sample:]
    return len(recent) / max(0.001, store.now() - recent[0][0][0] / 1000) if len(recent) > 1 else 0.0
