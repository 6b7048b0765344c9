import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import EventInvalid
from moderator.events import MAX_ID, parse_message
from moderator.gateway.hooks.hook_body import REPORTS_MAX
from moderator.gateway.hooks.s3_events import read_s3
from moderator.gateway.hooks.stored_object import Notice, StoredObject
from moderator.submission import check_submission
from tests.support.hook_bodies import S3_TEST_EVENT, minio_body, s3_body, s3_record


def only(notice: Notice) -> StoredObject:
    assert (len(notice.objects), notice.refused) == (1, ())
    return notice.objects[0]


def test_a_notification_becomes_an_event() -> None:
    event = only(read_s3(s3_body())).to_event({"policy": "marketplace"})
    assert event == {
        "id": "uploads/cats/a cat.jpg@0055AED6DCD90281E5",
        "source": "s3",
        "policy": "marketplace",
        "image": {"key": "uploads/cats/a cat.jpg"},
        "metadata": {
            "object": {
                "bucket": "uploads",
                "key": "cats/a cat.jpg",
                "sequencer": "0055AED6DCD90281E5",
                "size": 1024,
                "etag": "d41d8cd98f00b204e9800998ecf8427e",
                "event": "ObjectCreated:Put",
                "time": "2026-11-26T20:00:00.000Z",
            }
        },
    }
    check_submission(parse_message(event), 10, ["uploads"])


def test_minio_says_the_same_with_more_around_it() -> None:
    stored = only(read_s3(minio_body(version="b3d2-v1")))
    assert stored.image == {"key": "uploads/cats/a cat.jpg", "version": "b3d2-v1"}
    assert stored.event_id == "uploads/cats/a cat.jpg@b3d2-v1"
    assert only(read_s3(minio_body(version="null"))).image == {"key": "uploads/cats/a cat.jpg"}


@pytest.mark.parametrize("version", ["null", ""])
def test_what_is_no_version(version: str) -> None:
    stored = only(read_s3(s3_body(s3_record(version=version))))
    assert (stored.version, "version" in stored.image) == (None, False)


def test_all_but_new_objects_is_ignored() -> None:
    removed = s3_record(event="ObjectRemoved:Delete")
    restored = s3_record(event="s3:ObjectRestore:Completed")
    folder = s3_record(key="cats/", size=0)
    assert read_s3(s3_body(removed, restored, folder)) == Notice(ignored=3)
    assert read_s3(S3_TEST_EVENT) == Notice(ignored=1)
    copied = s3_record(event="s3:ObjectCreated:CompleteMultipartUpload")
    assert len(read_s3(s3_body(removed, copied)).objects) == 1


def test_one_bad_record_does_not_hide_the_others() -> None:
    bad: list[Any] = [{}, 7, s3_record() | {"eventName": 3}, s3_record() | {"s3": {"bucket": {"name": "b"}}}]
    not_text = s3_record()
    not_text["s3"]["object"]["key"] = "%ff"
    notice = read_s3(s3_body(*bad, s3_record(), not_text))
    assert len(notice.objects) == 1
    assert [text.partition(":")[0] for text in notice.refused] == [f"Records.{n}" for n in (0, 1, 2, 3, 5)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'"Records"',
        b'{"Records": {}}',
        b'{"Records": NaN}',
        b"[" * 100000,
        b'{"Records": [' + b"0," * REPORTS_MAX + b"0]}",
        b'{"Records": [' + b"[]," * 60000 + b"[]]}",
    ],
)
def test_what_is_no_notification(body: bytes) -> None:
    with pytest.raises(EventInvalid):
        read_s3(body)


@given(st.text(min_size=1).filter(lambda key: not key.endswith("/")))
def test_any_key_survives(key: str) -> None:
    stored = only(read_s3(s3_body(s3_record(key=key))))
    assert stored.key == key
    event = stored.to_event({})
    assert event["image"]["key"] == f"uploads/{key}"
    assert 0 < len(event["id"]) <= MAX_ID


NAMES = st.sampled_from(["a", "b", "a@b", "@", "b@", "a/b", "%40"]) | st.text(min_size=1, max_size=3)
LONG = st.sampled_from(["", "x" * 300])


@given(NAMES, NAMES, NAMES, NAMES, LONG)
def test_two_writes_have_two_ids_and_two_keys_two_names(
    key: str, version: str, other_key: str, other_version: str, long: str
) -> None:
    one = StoredObject("s3", "uploads", long + key, version, {})
    other = StoredObject("s3", "uploads", long + other_key, other_version, {})
    assert (one.event_id == other.event_id) is ((key, version) == (other_key, other_version))
    assert (one.name == other.name) is (key == other_key)


HEX = st.text("0123456789ABCDEF", min_size=1, max_size=20)


@given(HEX, HEX)
def test_sequencers_compare_padded_on_the_right(first: str, second: str) -> None:
    one, other = (only(read_s3(s3_body(s3_record(sequencer=text)))).order for text in (first, second))
    assert one is not None
    assert other is not None
    width = max(len(first), len(second))
    assert (one < other) is (int(first.ljust(width, "0"), 16) < int(second.ljust(width, "0"), 16))
    assert only(read_s3(s3_body(s3_record(sequencer=first.lower())))).order == one


@pytest.mark.parametrize("sequencer", ["", "xyz", "0" * 65, "1 2"])
def test_a_sequencer_that_orders_nothing(sequencer: str) -> None:
    assert only(read_s3(s3_body(s3_record(sequencer=sequencer)))).order is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.lists(
        JSON | st.fixed_dictionaries({"eventName": st.just("ObjectCreated:Put"), "s3": JSON}), max_size=5
    )
)
def test_any_records_are_read_or_named(records: list[Any]) -> None:
    notice = read_s3(json.dumps({"Records": records}))
    assert len(notice.objects) + len(notice.refused) + notice.ignored == len(records)
