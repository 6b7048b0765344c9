import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moderator.errors import EventInvalid
from moderator.queue.keys import TASK
from moderator.queue.message import IMAGES, decode_message, encode_message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
BODIES = st.dictionaries(st.text(max_size=10), JSON, max_size=5)


@given(BODIES)
def test_round_trip(body: dict[str, Any]) -> None:
    assert decode_message(encode_message(body, "moderation").encode()) == body


def test_the_envelope_is_that_of_a_celery_task() -> None:
    message = json.loads(encode_message({"id": "e", "metadata": {"secret": "hunter2"}}, "moderation.bulk"))
    headers, properties = message["headers"], message["properties"]
    assert headers["task"] == TASK == "moderation.check"
    assert headers["id"] == headers["root_id"] == properties["correlation_id"]
    assert (message["content-type"], message["content-encoding"]) == ("application/json", "utf-8")
    assert "body_encoding" not in properties
    assert properties["delivery_info"] == {"exchange": "", "routing_key": "moderation.bulk"}
    assert "hunter2" not in json.dumps(headers)
    args, kwargs, options = json.loads(message["body"])
    assert (args[0]["id"], kwargs, options["callbacks"]) == ("e", {}, None)


def test_messages_have_names_of_their_own() -> None:
    made = [json.loads(encode_message({}, "q")) for _ in range(2)]
    assert made[0]["headers"]["id"] != made[1]["headers"]["id"]
    assert made[0]["properties"]["delivery_tag"] != made[1]["properties"]["delivery_tag"]


def test_without_images_it_counts_as_one() -> None:
    for body in (None, [], "images", {"images": 7}, {"images": []}, {"image": {"path": "/a"}}):
        assert json.loads(encode_message(body, "q"))["headers"][IMAGES] == 1


@pytest.mark.parametrize("encoded", [True, False])
def test_message_protocol_1(encoded: bool) -> None:
    call = json.dumps({"task": TASK, "id": "x", "args": [{"id": "e"}], "kwargs": {}})
    properties = {"body_encoding": "base64"} if encoded else {}
    body = base64.b64encode(call.encode()).decode() if encoded else call
    assert decode_message(json.dumps({"body": body, "properties": properties}).encode()) == {"id": "e"}


def envelope(body: object, **properties: object) -> bytes:
    return json.dumps({"body": body, "properties": properties}).encode()


@given(st.binary(max_size=50) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b"")
@example(b"[" * 200_000)
@example(b'{"body": "[1]", "properties": null}')
@example(b'{"body": null, "properties": {"body_encoding": "base64"}}')
@example(envelope("[" * 200_000))
@example(envelope("null"))
@example(envelope("[]"))
@example(envelope("[[]]"))
@example(envelope("[{}]"))
@example(envelope("{}"))
@example(envelope('{"args": {}}'))
@example(envelope("é", body_encoding="base64"))
@example(envelope("/w==", body_encoding="base64"))
@example(envelope({"a": 1}))
@example(b'{"body": "[[' + b"9" * 5000 + b']]"}')
def test_hostile_bytes_are_refused_and_nothing_else(message: bytes) -> None:
    with pytest.raises(EventInvalid, match="not a Celery message"):
        decode_message(message)


@given(st.text(max_size=30) | JSON.map(json.dumps), st.sampled_from([{}, {"body_encoding": "base64"}]))
def test_hostile_bodies_raise_nothing_else(body: str, properties: dict[str, str]) -> None:
    outcome = None
    try:
        outcome = decode_message(json.dumps({"body": body, "properties": properties}).encode())
    except EventInvalid as error:
        outcome = str(error)
    json.dumps(outcome)
