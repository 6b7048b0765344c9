import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import EventInvalid
from moderator.fetching.urls import parse_url
from moderator.gateway.hooks.event_grid import Validation, allow_origin, read_event_grid
from moderator.gateway.hooks.stored_object import Notice, StoredObject
from tests.support.hook_bodies import BLOB_URL, event_grid_body, event_grid_cloud_event, event_grid_validation


def only(notice: Notice | Validation) -> StoredObject:
    assert isinstance(notice, Notice)
    assert (len(notice.objects), notice.refused) == (1, ())
    return notice.objects[0]


def test_a_new_blob_becomes_an_event() -> None:
    event = only(read_event_grid({"aeg-event-type": "Notification"}, event_grid_body())).to_event({})
    assert event["source"] == "azure"
    assert event["id"] == "shop.blob.core.windows.net/uploads/cats/a cat.jpg@00000000000004420000000000028963"
    assert event["image"] == {"url": BLOB_URL}
    assert event["metadata"]["object"]["etag"] == "0x8D4BCC2E4835CD0"


def test_cloud_events_say_the_same() -> None:
    headers, body = event_grid_cloud_event()
    batch = {"content-type": "application/cloudevents-batch+json"}
    assert read_event_grid(headers, body) == read_event_grid({}, event_grid_body())
    assert read_event_grid(batch, b"[" + body + b"]") == read_event_grid({}, event_grid_body())


def test_the_handshakes() -> None:
    code = "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"
    assert read_event_grid({}, event_grid_validation(code)) == Validation({"validationResponse": code})
    asked = {"webhook-request-origin": "eventgrid.azure.net"}
    assert allow_origin(asked)["WebHook-Allowed-Origin"] == "eventgrid.azure.net"


@pytest.mark.parametrize(
    "origin", ["", "example.org", "eventgrid.azure.net.example.org", "xeventgrid.azure.net", "*"]
)
def test_others_are_not_allowed_to_send(origin: str) -> None:
    with pytest.raises(EventInvalid):
        allow_origin({"webhook-request-origin": origin})


@pytest.mark.parametrize("code", ["", "x" * 513, "a\nb", "ä", 3, None])
def test_a_code_that_is_none(code: Any) -> None:
    with pytest.raises(EventInvalid):
        read_event_grid({}, event_grid_validation(code))


def test_all_but_new_blobs_is_ignored() -> None:
    assert read_event_grid({}, event_grid_body(kind="Microsoft.Storage.BlobDeleted")) == Notice(ignored=1)
    assert read_event_grid({}, event_grid_body(contentLength=0)) == Notice(ignored=1)


@pytest.mark.parametrize(
    "url", [3, "", "/uploads/a", "https://h/", "https://h/uploads", "ftp://h/u/a", "https://[h/u/a"]
)
def test_a_url_that_names_no_blob(url: Any) -> None:
    notice = read_event_grid({}, event_grid_body(url))
    assert isinstance(notice, Notice)
    assert (notice.objects, len(notice.refused)) == ((), 1)


@pytest.mark.parametrize("body", [b"", b"{}", b"[3]", b'[{"eventType": 3}]', b'[{"data": {}}]'])
def test_what_is_no_event(body: bytes) -> None:
    with pytest.raises(EventInvalid):
        read_event_grid({}, body)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="?#%\\"), min_size=1))
def test_any_name_leads_to_a_url_that_workers_take(name: str) -> None:
    url = f"https://shop.blob.core.windows.net/uploads/{name}"
    notice = read_event_grid({}, event_grid_body(url))
    assert isinstance(notice, Notice)
    for stored in notice.objects:
        assert parse_url(stored.image["url"]).host == "shop.blob.core.windows.net"
        assert stored.key == name


JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(JSON)
def test_any_data_is_read_or_named(data: Any) -> None:
    body = json.dumps([{"eventType": "Microsoft.Storage.BlobCreated", "data": data}]).encode()
    notice = read_event_grid({}, body)
    assert isinstance(notice, Notice)
    assert len(notice.objects) + len(notice.refused) + notice.ignored == 1
