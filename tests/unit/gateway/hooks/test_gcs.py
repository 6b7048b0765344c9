import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import EventInvalid
from moderator.gateway.hooks.gcs import read_gcs
from moderator.gateway.hooks.stored_object import Notice, StoredObject
from tests.support.hook_bodies import gcs_cloud_event, gcs_push


def only(notice: Notice) -> StoredObject:
    assert (len(notice.objects), notice.refused) == (1, ())
    return notice.objects[0]


def test_a_push_of_pubsub_becomes_an_event() -> None:
    event = only(read_gcs({}, gcs_push())).to_event({})
    assert event["id"] == "uploads/cats/a cat.jpg@1764187200000001"
    assert event["image"] == {"key": "uploads/cats/a cat.jpg"}
    assert event["metadata"]["object"] == {
        "bucket": "uploads",
        "key": "cats/a cat.jpg",
        "generation": "1764187200000001",
        "size": 1024,
        "type": "image/jpeg",
        "etag": "CNDq0N2F7YkDEAE=",
        "time": "2026-11-26T20:00:00.000000Z",
    }


def test_all_forms_name_the_same_event() -> None:
    headers, resource = gcs_cloud_event()
    attributes = {
        name.removeprefix("ce-"): value for name, value in headers.items() if name.startswith("ce-")
    }
    structured = json.dumps({**attributes, "data": json.loads(resource)}).encode()
    wrapped = {
        "specversion": "1.0",
        "type": "google.cloud.pubsub.topic.v1.messagePublished",
        "source": "//pubsub.googleapis.com/projects/p/topics/uploads",
        "data": json.loads(gcs_push()),
    }
    kind = {"content-type": "application/cloudevents+json"}
    ids = {
        only(read_gcs({}, gcs_push())).event_id,
        only(read_gcs({}, gcs_push(payload=False))).event_id,
        only(read_gcs(headers, resource)).event_id,
        only(read_gcs(kind, structured)).event_id,
        only(read_gcs(kind, json.dumps(wrapped).encode())).event_id,
    }
    assert len(ids) == 1


def test_names_are_taken_as_they_are() -> None:
    assert only(read_gcs({}, gcs_push(name="a+b%2Fc d.jpg"))).key == "a+b%2Fc d.jpg"


def test_all_but_new_objects_is_ignored() -> None:
    headers, body = gcs_cloud_event()
    assert read_gcs({**headers, "ce-type": "google.cloud.storage.object.v1.deleted"}, body) == Notice(
        ignored=1
    )
    assert read_gcs({}, gcs_push(event="OBJECT_DELETE")) == Notice(ignored=1)


@given(st.integers(0, 10**19), st.integers(0, 10**19))
def test_generations_compare(first: int, second: int) -> None:
    one, other = (only(read_gcs({}, gcs_push(generation=n))).order for n in (first, second))
    assert one is not None
    assert other is not None
    assert (one < other) is (first < second)


@pytest.mark.parametrize(
    "change",
    [
        lambda push: push.pop("message"),
        lambda push: push["message"].pop("attributes"),
        lambda push: push["message"]["attributes"].pop("bucketId"),
        lambda push: push["message"]["attributes"].update(objectGeneration="x", payloadFormat="NONE"),
        lambda push: push["message"].update(data="no base64"),
        lambda push: push["message"].update(data=base64.b64encode(b"no JSON").decode()),
        lambda push: push["message"].update(data=3),
    ],
)
def test_what_is_no_push(change: Any) -> None:
    push = json.loads(gcs_push())
    change(push)
    with pytest.raises(EventInvalid):
        read_gcs({}, json.dumps(push).encode())


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"message": []}'])
@pytest.mark.parametrize(
    "headers", [{}, {"ce-specversion": "1.0"}, {"content-type": "application/cloudevents+json"}]
)
def test_any_other_body(headers: dict[str, str], body: bytes) -> None:
    if (headers.get("content-type"), body) == ("application/cloudevents+json", b"[]"):
        assert read_gcs(headers, body) == Notice()
        return
    with pytest.raises(EventInvalid):
        read_gcs(headers, body)
