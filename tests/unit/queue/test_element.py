"""Every list element, whatever it is, is read to one call or refused; the message made of it can be read again."""

import json
from random import Random
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import loads as kombu_loads

from moderator.queue.element import MAX_RAW, Call, Refusal, read_element
from moderator.queue.keys import TASK
from moderator.queue.message import IMAGES, make_canonical
from tests.support import hostile_messages

EVENT = {"id": "e", "source": "shop", "image": {"path": "/a.jpg"}, "metadata": {"n": 1.0}}
READABLE, UNREADABLE = hostile_messages.readable(EVENT), hostile_messages.unreadable(EVENT)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.fixed_dictionaries({"__type__": st.just("datetime") | st.text(max_size=5), "__value__": inner})
    ),
    max_leaves=20,
)


def as_celery_reads(message: dict[str, Any]) -> Any:
    """The call that kombu and Celery make of a canonical message, as the task gets it."""
    again = kombu_loads(json.dumps(message))
    assert again == message
    assert (message["content-type"], message["content-encoding"]) == ("application/json", "utf-8")
    args, kwargs, embed = kombu_loads(message["body"])
    assert not any(embed.values())
    return args, kwargs


def check(element: bytes) -> dict[str, Any]:
    """What must hold for any element."""
    message = make_canonical(element, "moderation.bulk", "tag")
    headers, properties = message["headers"], message["properties"]
    assert headers["task"] == TASK
    assert isinstance(headers["id"], str)
    assert isinstance(headers[IMAGES], int)
    assert headers[IMAGES] >= 1
    assert not any(headers[name] for name in ("eta", "expires", "group", "parent_id", "retries"))
    assert properties["delivery_info"] == {"exchange": "", "routing_key": "moderation.bulk"}
    assert properties["delivery_tag"] == "tag"
    args, kwargs = as_celery_reads(message)
    assert (len(args), len(kwargs)) in {(1, 0), (0, 1)}
    assert make_canonical(json.dumps(message).encode(), "moderation.bulk", "tag") == message
    return message


def task_gets(element: bytes) -> Any:
    args, kwargs = as_celery_reads(check(element))
    return json.loads(kwargs["text"]) if "text" in kwargs else args[0]


@pytest.mark.parametrize("shape", READABLE)
def test_what_can_be_read_is_read(shape: str) -> None:
    event = task_gets(hostile_messages.to_bytes(READABLE[shape]))
    assert (event["id"], event["source"], event["image"]) == ("e", "shop", {"path": "/a.jpg"})


@pytest.mark.parametrize("shape", UNREADABLE)
def test_what_cannot_be_read_says_why_within_bounds(shape: str) -> None:
    element = hostile_messages.to_bytes(UNREADABLE[shape])
    start = perf_counter()
    check(element)
    found = read_element(element)
    assert perf_counter() - start < 3.0
    if isinstance(found, Refusal):
        assert found.reason.startswith(f"not a Celery message for {TASK}: ")
        assert len(found.reason) < 400
        assert found.raw == element.decode()[:MAX_RAW]
    else:  # the task sees that it is no event
        assert not isinstance(found.argument, dict)


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_become_a_message_that_reads_as_itself(element: bytes) -> None:
    check(element)


@given(st.integers(0, 2**32))
def test_mutated_messages_become_one_that_reads_as_itself(seed: int) -> None:
    random = Random(seed)
    event = hostile_messages.make_event(random, "/a.jpg")
    shape = random.choice(sorted(READABLE))
    message = hostile_messages.readable(event)[shape]
    check(hostile_messages.to_bytes(hostile_messages.mutate_json(random, message)))
    check(hostile_messages.mutate_bytes(random, hostile_messages.to_bytes(message)))


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), st.booleans())
def test_metadata_reaches_the_task_as_it_was_sent(metadata: dict[str, Any], plain: bool) -> None:
    element = hostile_messages.envelope(
        hostile_messages.call_of({**EVENT, "metadata": metadata}), plain=plain
    )
    assert repr(task_gets(json.dumps(element).encode())["metadata"]) == repr(metadata)


def test_an_event_without_an_id_keeps_the_one_that_it_gets() -> None:
    event = {"image": {"path": "/a.jpg"}}
    for id, expected in [
        ("celery's", "celery's"),
        ("", "tag"),
        ("x" * 300, "tag"),
        ("\ud800", "tag"),
        (5, "tag"),
    ]:
        element = hostile_messages.envelope(hostile_messages.call_of(event), headers={"id": id})
        message = check(json.dumps(element).encode())
        again = make_canonical(json.dumps(message).encode(), "moderation", "another")
        for made in (message, again):
            assert as_celery_reads(made)[0] == [{"id": expected, **event}]


def test_a_message_counts_as_many_images_as_it_has_whatever_it_says() -> None:
    element = hostile_messages.envelope(
        hostile_messages.call_of({"id": "b", "images": [{"path": "/a"}] * 7}), headers={IMAGES: -5}
    )
    assert check(json.dumps(element).encode())["headers"][IMAGES] == 7


def test_what_unpacks_to_too_much_costs_little() -> None:
    element = hostile_messages.envelope(
        "", headers={"compression": "gzip"}, pack=lambda _: hostile_messages.gzip_bomb()
    )
    found = read_element(json.dumps(element).encode())
    assert isinstance(found, Refusal)
    assert "unpacks to more" in found.reason


def test_callers_of_another_task_are_no_producers() -> None:
    element = hostile_messages.envelope(hostile_messages.call_of(EVENT), headers={"task": "x" * 1000})
    found = read_element(json.dumps(element).encode())
    assert isinstance(found, Refusal)
    assert "calls the task 'xxx" in found.reason
    assert isinstance(read_element(json.dumps(hostile_messages.envelope([[EVENT]])).encode()), Call)
