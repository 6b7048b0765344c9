"""What may lie on a queue: calls of the task in every shape, broken and mutated ones, and garbage; from a seed."""

import base64
import bz2
import copy
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any

Json = Any


def call_of(event: Json) -> list[Json]:
    return [[event], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


def envelope(
    body: Json,
    *,
    id: str = "",
    encoding: str = "utf-8",
    pack: Callable[[bytes], bytes] = lambda data: data,
    plain: bool = False,
    headers: dict[str, Json] | None = None,
    properties: dict[str, Json] | None = None,
    **rest: Json,
) -> dict[str, Json]:
    """A message as Celery and kombu write it, with something changed."""
    text = body if isinstance(body, str) else json.dumps(body)
    return {
        "body": text if plain else base64.b64encode(pack(text.encode(encoding))).decode(),
        "content-encoding": encoding,
        "content-type": "application/json",
        "headers": {"task": "moderation.check", "id": id or None, "lang": "py", **(headers or {})},
        "properties": {
            **({} if plain else {"body_encoding": "base64"}),
            "correlation_id": id,
            "delivery_info": {"exchange": "", "routing_key": "moderation"},
            "delivery_tag": id,
            "delivery_mode": 2,
            "priority": 0,
            **(properties or {}),
        },
        **rest,
    }


def without(message: dict[str, Json], *names: str) -> dict[str, Json]:
    return {name: value for name, value in message.items() if name not in names}


def readable(event: dict[str, Json]) -> dict[str, Json]:
    """Shapes in which the event can be read, and so gets a verdict."""
    call, id = call_of(event), event["id"]
    v1 = {"task": "moderation.check", "id": id, "args": [event], "kwargs": {}}
    headless: dict[str, Json] = {"headers": {}}
    stranger = {
        "task": "shop.bill",
        "args": [id],
        "kwargs": {},
        "options": {"queue": "shop"},
        "subtask_type": None,
    }
    embed = {"callbacks": [stranger], "errbacks": [stranger], "chain": [stranger], "chord": stranger}
    typed = {
        **event,
        "metadata": {"a": {"__type__": "datetime", "__value__": "x"}, "__type__": "b", "__value__": [1]},
    }
    return {
        "protocol 2": envelope(call, id=id),
        "protocol 2, plain": envelope(call, id=id, plain=True),
        "protocol 1": {**envelope(v1, id=id), **headless},
        "protocol 1, plain": {**envelope(v1, id=id, plain=True), **headless},
        "protocol 1, eta": {
            **envelope({**v1, "eta": 5, "expires": "never", "taskset": 1}, id=id),
            **headless,
        },
        "keyword": envelope([[], {"event": event}, {}], id=id),
        "keyword, args null": envelope([None, {"event": event}, {}], id=id),
        "kwargs null": envelope([[event], None, None], id=id),
        "kwargs a list": envelope([[event], [], []], id=id),
        "two elements": envelope([[event], {}], id=id),
        "one element": envelope([[event]], id=id),
        "types of kombu": envelope(call_of(typed), id=id),
        "types of kombu, plain": envelope(call_of(typed), id=id, plain=True),
        "zlib": envelope(call, id=id, pack=zlib.compress, headers={"compression": "application/x-gzip"}),
        "gzip": envelope(call, id=id, pack=gzip.compress, headers={"compression": "application/x-gzip"}),
        "bzip2": envelope(call, id=id, pack=bz2.compress, headers={"compression": "application/x-bz2"}),
        "xz": envelope(call, id=id, pack=lzma.compress, headers={"compression": "lzma"}),
        "no content-type": without(envelope(call, id=id), "content-type", "content-encoding"),
        "content-type null": envelope(call, id=id, **{"content-type": None, "content-encoding": None}),
        "charset": envelope(call, id=id, **{"content-type": "Application/JSON; charset=UTF-8"}),
        "utf-16": envelope(call, id=id, encoding="utf-16"),
        "utf-16 by charset": envelope(
            call,
            id=id,
            encoding="utf-16",
            **{"content-type": "application/json; charset=utf-16", "content-encoding": None},
        ),
        "latin-1": envelope(call, id=id, encoding="latin-1"),
        "binary": envelope(call, id=id, **{"content-encoding": "binary"}),
        "expired": envelope(call, id=id, headers={"expires": "2001-01-01T00:00:00+00:00"}),
        "expires garbage": envelope(call, id=id, headers={"expires": {"a": []}}),
        "expires a number": envelope(call, id=id, headers={"expires": 1e9}),
        "eta a number": envelope(call, id=id, headers={"eta": 2**40}),
        "eta garbage": envelope(call, id=id, headers={"eta": "tomorrow, say"}),
        "eta in ten years": envelope(call, id=id, headers={"eta": "2036-01-01T00:00:00"}),
        "strangers' callbacks": envelope([[event], {}, embed], id=id, headers={"group": "g", "root_id": "r"}),
        "embed garbage": envelope([[event], {}, 5], id=id),
        "answer to": envelope(call, id=id, properties={"reply_to": "celery", "correlation_id": 5}),
        "wants a result": envelope(
            call, id=id, headers={"ignore_result": False, "retries": "x", "shadow": 5}
        ),
        "timelimit": envelope(call, id=id, headers={"timelimit": "soon", "stamped_headers": 5, "stamps": []}),
        "headers null": {**envelope(v1, id=id), "headers": None},
        "headers a list": {**envelope(v1, id=id), "headers": []},
        "no headers": without(envelope(v1, id=id), "headers"),
        "no task": envelope(call, id=id, headers={"task": None}),
        "id a number": envelope(call, id=id, headers={"id": 5}),
        "no properties": without(envelope(call, id=id, plain=True), "properties"),
        "properties null": {**envelope(call, id=id, plain=True), "properties": None},
        "delivery_info empty": envelope(call, id=id, properties={"delivery_info": {}}),
        "delivery_info null": envelope(call, id=id, properties={"delivery_info": None}),
        "delivery_info elsewhere": envelope(
            call, id=id, properties={"delivery_info": {"exchange": "celery", "routing_key": "celery"}}
        ),
        "delivery_tag missing": envelope(call, id=id, properties={"delivery_tag": None}),
        "delivery_tag a number": envelope(call, id=id, properties={"delivery_tag": 1}),
        "delivery_tag of others": envelope(call, id=id, properties={"delivery_tag": "the same"}),
        "priority garbage": envelope(call, id=id, properties={"priority": "high"}),
        "NaN in metadata": envelope(
            json.dumps(call_of({**event, "metadata": {"nan": float("nan"), "inf": float("inf")}})), id=id
        ),
    }


@cache
def gzip_bomb() -> bytes:
    return gzip.compress(b" " * 100_000_000, 1)


def unreadable(event: dict[str, Json]) -> dict[str, Json]:
    """Shapes that are no event, and so become a dead letter."""
    call, id = call_of(event), event["id"]
    v1 = {"task": "moderation.check", "id": id, "args": [event], "kwargs": {}}
    nested, digits = "[" * 100_000, "9" * 5000
    deep = json.dumps(call_of({**event, "metadata": {"a": 1}})).replace(
        '"a": 1', f'"a": {nested}{"]" * 100_000}'
    )
    return {
        "body []": envelope([], id=id),
        "body 5": envelope(5, id=id),
        "body null": envelope(None, id=id),
        "body a text": envelope('"x"', id=id),
        "body {}": {**envelope({}, id=id), "headers": {}},
        "body empty": envelope("", id=id, plain=True),
        "body no text": {**envelope(call, id=id), "body": call},
        "body missing": without(envelope(call, id=id), "body"),
        "event null": envelope(call_of(None), id=id),
        "event a text": envelope(call_of(json.dumps(event)), id=id),
        "event a list": envelope(call_of([event]), id=id),
        "two events": envelope([[event, event], {}, {}], id=id),
        "other keyword": envelope([[event], {"urgent": True}, {}], id=id),
        "args an object": envelope([{"0": event}, {}, {}], id=id),
        "nested body": envelope(nested, id=id),
        "nested body, plain": envelope(nested, id=id, plain=True),
        "nested metadata": envelope(deep, id=id),
        "nested envelope": nested,
        "5,000 digits": envelope(f"[[{digits}]]", id=id),
        "5,000 digits, plain": envelope(f"[[{digits}]]", id=id, plain=True),
        "infinite number": envelope(
            json.dumps(call_of({**event, "metadata": {"a": 0}})).replace("0}", "1e400}")
        ),
        "kombu's type": '{"__type__": "x", "__value__": 1}',
        "kombu's type for a header": json.dumps(
            {**envelope(5), "headers": {"__type__": "x", "__value__": 1}}
        ),
        "broken base64": {**envelope(call, id=id), "body": "é" + "A" * 5},
        "cut base64": {**envelope(call, id=id), "body": "QQ"},
        "body_encoding unknown": envelope(call, id=id, properties={"body_encoding": "rot13"}),
        "body_encoding a list": envelope(call, id=id, properties={"body_encoding": ["base64"]}),
        "plain body, compression": envelope(call, id=id, plain=True, headers={"compression": "zlib"}),
        "not compressed": envelope(call, id=id, headers={"compression": "application/x-gzip"}),
        "compression unknown": envelope(call, id=id, headers={"compression": "application/x-rar"}),
        "compression a list": envelope(call, id=id, headers={"compression": ["gzip"]}),
        "cut gzip": envelope(
            call, id=id, pack=lambda data: gzip.compress(data)[:-20], headers={"compression": "gzip"}
        ),
        "gzip bomb": envelope(call, id=id, headers={"compression": "gzip"}, pack=lambda _: gzip_bomb()),
        "pickle": envelope(call, id=id, **{"content-type": "application/x-python-serialize"}),
        "yaml": envelope(call, id=id, **{"content-type": "application/x-yaml"}),
        "content-type a number": envelope(call, id=id, **{"content-type": 5}),
        "content-encoding unknown": envelope(call, id=id, **{"content-encoding": "nothing"}),
        "content-encoding no text": envelope(call, id=id, **{"content-encoding": "zlib"}),
        "utf-16 that is none": envelope("[[[", id=id, **{"content-encoding": "utf-16"}),
        "unknown task": envelope(call, id=id, headers={"task": "os.system"}),
        "unknown task, protocol 1": {**envelope({**v1, "task": "x"}, id=id), "headers": {}},
        "task a list": envelope(call, id=id, headers={"task": ["moderation.check"]}),
        "many parts": "[" + "[]," * 200_000 + "[]]",
        "nothing": "",
        "bare event": event,
        "NUL": "\0",
    }


def to_bytes(message: Json) -> bytes:
    return (
        message
        if isinstance(message, bytes)
        else (message.encode() if isinstance(message, str) else json.dumps(message).encode())
    )


def make_elements(random: Random, count: int, path: str) -> Iterator[bytes]:
    """Each shape once, then mutated ones, random JSON and random bytes. Events have ids of their own.

    Args:
        random: from a seed.
        count: at least so many.
        path: of an image that can be fetched.
    """
    made = 0
    names = [*readable(make_event(random, path)), *unreadable(make_event(random, path))]
    while made < count or made < len(names):
        event = make_event(random, path)
        shapes = {**readable(event), **unreadable(event)}
        if made < len(names):
            yield to_bytes(shapes[names[made]])
        else:
            kind = random.random()
            if kind < 0.15:
                yield random.randbytes(random.randrange(200))
            elif kind < 0.3:
                yield json.dumps(random_json(random, 4)).encode()
            elif kind < 0.7:
                message = shapes[random.choice(sorted(readable(event)))]
                yield to_bytes(mutate_json(random, message))
            else:
                yield mutate_bytes(random, to_bytes(shapes[random.choice(sorted(readable(event)))]))
        made += 1


def make_event(random: Random, path: str) -> dict[str, Json]:
    event: dict[str, Json] = {
        "id": f"{random.getrandbits(128):032x}",
        "source": "hostile",
        "metadata": {"a": [1.5]},
    }
    if random.random() < 0.1:
        return {**event, "images": [{"path": path}] * random.randrange(1, 4)}
    return {**event, "image": {"path": path}}


def random_json(random: Random, depth: int) -> Json:
    kind = random.randrange(8 if depth else 6)
    if kind == 6:
        return [random_json(random, depth - 1) for _ in range(random.randrange(4))]
    if kind == 7:
        keys = ["__type__", "__value__", "body", "headers", "properties", "task", "args", "\ud800", "x"]
        return {random.choice(keys): random_json(random, depth - 1) for _ in range(random.randrange(4))}
    # Each text is another: one may become the id of an event.
    text = f"text {random.getrandbits(64)}"
    return [None, True, random.randrange(-5, 2**70), random.random(), text, "\0\udfff"][kind]


def mutate_json(random: Random, message: Json) -> Json:
    """Something in the envelope, or in a body that is JSON, removed or replaced."""
    message = copy.deepcopy(message)
    if random.random() < 0.5 and isinstance(message.get("body"), str):
        encoded = (message.get("properties") or {}).get("body_encoding") == "base64"
        try:
            body = json.loads(base64.b64decode(message["body"]) if encoded else message["body"])
        except ValueError:
            body = None
        _change(random, body)
        text = json.dumps(body)
        message["body"] = base64.b64encode(text.encode()).decode() if encoded else text
        return message
    _change(random, message)
    return message


def _change(random: Random, value: Json) -> None:
    """Change one place somewhere inside, in place."""
    while isinstance(value, dict | list) and value:
        key = random.choice(sorted(value)) if isinstance(value, dict) else random.randrange(len(value))
        inner = value[key]
        if isinstance(inner, dict | list) and inner and random.random() < 0.8:
            value = inner
        elif random.random() < 0.3:
            del value[key]
            return
        else:
            value[key] = random_json(random, 2)
            return


def mutate_bytes(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(changed) or 1)
        match random.randrange(4):
            case 0:
                changed[at : at + 1] = random.randbytes(1)
            case 1:
                del changed[at : at + random.randrange(1, 20)]
            case 2:
                changed[at:at] = random.choice([b'"', b"[", b"{", b"}", b"\xff", b"\0", b"\\", b"null"])
            case 3:
                del changed[at:]
    return bytes(changed)
