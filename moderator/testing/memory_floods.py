"""The scripts of the flood breaker in Python; see `memory_scripts`."""

import re

from moderator.testing.memory_common import Words, seconds
from moderator.testing.memory_store import Hash, List, MemoryStore, SortedSet

DAY_SECONDS = 86_400.0

_Part = tuple[int, int, float, float]


def count_flood(store: MemoryStore, keys: Words, args: Words) -> list[bytes]:
    """See `count_flood.lua`."""
    listed, *records = keys
    part_seconds, part_images, most_parts, half_life, ttl = map(float, args[:5])
    store.require((listed, SortedSet), *((record, Hash) for record in records))
    now = store.now()
    answers = [seconds(now)]
    rows = zip(args[5::3], args[6::3], args[7::3], strict=True)
    for record, (name, images, blocks) in zip(records, rows, strict=True):
        fields = Hash(store.find(record, Hash) or ())
        before, blocked = float(fields.get(b"images", 0)), float(fields.get(b"blocks", 0))
        as_of, began = (float(fields.get(name, now)) for name in (b"as_of", b"began"))
        peak = float(fields.get(b"peak", 0))
        parts = _parts(fields.get(b"window", b""))
        window = [sum(part[0] for part in parts), sum(part[1] for part in parts)]
        if int(images) > 0:
            last = parts[-1] if parts else None
            if last is None or (now - last[2] >= part_seconds and last[0] >= part_images):
                rate = 0.0
                if len(parts) == most_parts:
                    rate = window[1] / window[0]
                    old = parts.pop(0)
                    if b"opened_at" not in fields:
                        kept = 0.5 ** (max(0.0, now - as_of) / half_life)
                        before, blocked, as_of = before * kept + old[0], blocked * kept + old[1], now
                        peak = max(peak * kept, old[3])
                    window = [window[0] - old[0], window[1] - old[1]]
                last = (0, 0, now, rate)
                parts.append(last)
                fields |= {b"images": _number(before), b"blocks": _number(blocked), b"as_of": seconds(as_of)}
                fields |= {b"began": seconds(began), b"peak": seconds(peak)}
            parts[-1] = (last[0] + int(images), last[1] + int(blocks), *last[2:])
            window = [window[0] + int(images), window[1] + int(blocks)]
            fields[b"window"] = b";".join(b"%d,%d,%.6f,%.6f" % part for part in parts)
            if last[2] == now or now - last[2] > DAY_SECONDS:
                store.set(record, fields, int(ttl))
                store.at(listed, SortedSet)[name] = now + ttl
            else:
                store.at(record, Hash).update(fields)
        answers += [_number(value) for value in (before, blocked, *window)]
        answers += [seconds(began), seconds(peak)]
        answers += [fields.get(field, b"") for field in (b"opened_at", b"calm_since", b"reason")]
        answers.append(fields.get(b"turns", b"0"))
    members = store.find(listed, SortedSet) or SortedSet()
    for member in [member for member, until in members.items() if until <= now]:
        del members[member]
    return answers


def turn_flood(store: MemoryStore, keys: Words, args: Words) -> int:
    """See `turn_flood.lua`."""
    record, log = keys
    turns, change, reason, entry, most = args
    store.require((record, Hash), (log, List))
    fields = store.find(record, Hash)
    if not fields or int(fields.get(b"turns", 0)) != int(turns):
        return 0
    if (b"opened_at" in fields) == (change == b"open"):
        return 0
    now = seconds(store.now())
    if change == b"open":
        fields |= {b"opened_at": now, b"reason": reason, b"window": b""}
    elif change == b"calm":
        fields[b"calm_since"] = now
    elif change == b"high":
        fields.pop(b"calm_since", None)
    else:
        if change == b"accept":
            parts = _parts(fields.get(b"window", b""))
            fields |= {b"images": b"%d" % sum(part[0] for part in parts), b"as_of": now}
            fields |= {b"blocks": b"%d" % sum(part[1] for part in parts), b"began": now, b"peak": b"0"}
        for field in (b"opened_at", b"calm_since", b"reason"):
            fields.pop(field, None)
        fields[b"window"] = b""
    fields[b"turns"] = b"%d" % (int(turns) + 1)
    if entry:
        entries = store.at(log, List)
        entries.appendleft(entry)
        while len(entries) > int(most):
            entries.pop()
    return 1


def _parts(text: bytes) -> list[_Part]:
    found = re.findall(rb"(\d+),(\d+),([\d.]+),([\d.]+)", text)
    return [(int(n), int(k), float(began), float(rate)) for n, k, began, rate in found]


def _number(value: float) -> bytes:
    return b"%.3f" % value
