import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moderator.errors import EventInvalid
from moderator.events import (
    MAX_DEPTH,
    MAX_ID,
    MAX_IMAGES,
    MAX_METADATA_CHARACTERS,
    Event,
    Priority,
    bulk_image_key,
    event_key,
    parse_message,
    split_key,
)

IMAGE = {"path": "/uploads/cat.jpg"}
#: Lone surrogates, too: `json.loads` makes them of "\\ud800".
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=20,
)
KEYS = st.sampled_from(["id", "source", "policy", "image", "images", "priority", "metadata", "reply"])
IMAGES = st.dictionaries(
    st.sampled_from(["path", "url", "key", "version", "inline"]) | ANY_TEXT, JSON, max_size=2
)
NEARLY_EVENTS = st.dictionaries(KEYS | ANY_TEXT, JSON | IMAGES | st.lists(IMAGES, max_size=3), max_size=6)
VALID = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=20),
        "image": st.just(IMAGE),
        "metadata": st.dictionaries(ANY_TEXT, JSON),
    }
)


def test_a_version_is_written_only_where_there_is_one() -> None:
    known_before = {"path": None, "url": None, "key": "bucket/a?versionId=1", "inline": None}
    event = Event.model_validate({"image": {"key": "bucket/a?versionId=1"}})
    assert json.loads(event.model_dump_json())["image"] == known_before
    event = Event.model_validate({"image": {**known_before, "version": "2"}})
    assert json.loads(event.model_dump_json())["image"] == {**known_before, "version": "2"}


def refused(body: Any) -> str:
    with pytest.raises(EventInvalid) as error:
        parse_message(body)
    return str(error.value)


@given(JSON | NEARLY_EVENTS | VALID)
@example({"id": "e", "image": IMAGE, "metadata": {"a": "\ud800"}})
@example({"id": "e", "image": IMAGE, "metadata": {"\ud800": 1}})
@example({"\ud800": 1, "image": IMAGE})
@example({"id": "e", "images": [IMAGE, {"\ud800": ""}]})
def test_any_json_is_events_or_refused_and_events_survive_being_written(body: Any) -> None:
    events, problem = [], ""
    try:
        events = parse_message(body)
    except EventInvalid as error:
        problem = str(error)
    assert bool(events) != bool(problem)
    assert problem.isprintable()
    assert len(problem.encode()) < 4000
    for event in events:
        again = Event.model_validate_json(event.model_dump_json())
        assert again.model_dump_json() == event.model_dump_json()
        assert again.key == event.key


def test_an_event_with_all_its_fields() -> None:
    body = {
        "id": "e1",
        "source": "shop",
        "policy": "marketplace",
        "image": {"url": "https://example.com/a.jpg"},
        "priority": "bulk",
        "metadata": {"user": 7},
        "reply": {"webhook": "https://example.com/hook"},
    }
    (event,) = parse_message(body)
    assert event.model_dump(mode="json", exclude_none=True) == body
    assert event.key == "shop:e1"


def test_defaults() -> None:
    first, second = (parse_message({"image": IMAGE})[0] for _ in range(2))
    assert first.id != second.id
    assert (first.source, first.policy, first.priority) == ("moderator", None, Priority.INTERACTIVE)
    assert (first.metadata, first.reply.webhook) == ({}, None)


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
@example("a:b", "c", "a", "b:c")
@example("a", ":", "a", "%3A")
@example("a", "%3A", "a", "%253A")
def test_keys_are_equal_for_equal_events_alone(s1: str, i1: str, s2: str, i2: str) -> None:
    assert (event_key(s1, i1) == event_key(s2, i2)) == ((s1, i1) == (s2, i2))


@given(st.text(max_size=12), st.text(max_size=12))
def test_the_last_colon_parts_source_and_id(source: str, id: str) -> None:
    assert event_key(source, id).rpartition(":")[0] == source


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "an event is a JSON object, not NoneType"),
        ([], "not list"),
        ({}, "image: Field required"),
        ({"image": {}}, "give exactly one of path, url, key, inline"),
        ({"image": {"path": "/a", "url": "b"}}, "give exactly one of"),
        ({"image": {"path": "/a", "version": "1"}}, "only an object named by key has versions"),
        ({"image": {"key": "a/b", "version": ""}}, "image.version"),
        ({"image": {"path": "/a"}, "polcy": "x"}, "polcy: Extra inputs are not permitted"),
        ({"image": {"pth": "/a"}}, "image.pth"),
        ({"image": {"path": 3}}, "image.path: Input should be a valid string"),
        ({"image": IMAGE, "priority": "urgent"}, "priority: Input should be 'interactive' or 'bulk'"),
        ({"image": IMAGE, "id": ""}, "id: String should have at least 1 character"),
        ({"image": IMAGE, "id": "x" * (MAX_ID + 1)}, "id: String should have at most 256 characters"),
        ({"image": IMAGE, "source": "x" * (MAX_ID + 1)}, "source: "),
        ({"image": {"path": "x" * 4097}}, "image.path: "),
        ({"image": {"url": "x" * 8193}}, "image.url: "),
        ({"image": IMAGE, "reply": {"webhook": "x" * 8193}}, "reply.webhook: "),
        (
            {"image": IMAGE, "metadata": {"a": "x" * MAX_METADATA_CHARACTERS}},
            "metadata is larger than 16384 characters",
        ),
        ({"image": IMAGE, "metadata": []}, "metadata: "),
        ({"image": IMAGE, "metadata": {"a": 10**5000}}, "not an event"),
        ({"id": "b", "images": []}, "images: give a list of at least one"),
        ({"id": "b", "images": IMAGE}, "images: give a list of at least one"),
        ({"images": [IMAGE]}, "id: a bulk event needs one"),
        ({"id": "", "images": [IMAGE]}, "id: a bulk event needs one"),
        ({"id": 3, "images": [IMAGE]}, "id: a bulk event needs one"),
        ({"id": "b", "images": [IMAGE], "image": IMAGE}, "give image or images, not both"),
        ({"id": "b", "images": [IMAGE, {}]}, "give exactly one of"),
        ({"id": "x" * MAX_ID, "images": [IMAGE]}, "id: "),
        ({"id": "b", "images": [IMAGE] * (MAX_IMAGES + 1)}, "images: 1001 are more than 1000"),
    ],
)
def test_what_is_no_event_is_told_why(body: Any, message: str) -> None:
    assert message in refused(body)


def test_one_more_than_the_bounds() -> None:
    body = {"id": "x" * MAX_ID, "source": "y" * MAX_ID, "image": {"path": "/" * 4096}}
    assert len(parse_message({**body, "metadata": {"a": "é" * (MAX_METADATA_CHARACTERS - 9)}})) == 1
    assert len(parse_message({"id": "b", "images": [IMAGE] * MAX_IMAGES})) == MAX_IMAGES


def nested(levels: int) -> Any:
    value: Any = 1
    for n in range(levels):
        value = [value] if n % 2 else {"a": value}
    return {"a": value}


@pytest.mark.parametrize("levels", [MAX_DEPTH, 100, 199, 250, 400, 900])
def test_deep_metadata_is_refused(levels: int) -> None:
    refused({"image": IMAGE, "metadata": nested(levels)})


def test_metadata_may_be_as_deep_as_allowed() -> None:
    (event,) = parse_message({"image": IMAGE, "metadata": nested(MAX_DEPTH - 1)})
    assert Event.model_validate_json(event.model_dump_json()) == event


def test_a_message_of_nothing_but_mistakes_is_told_in_short() -> None:
    text = refused({"image": IMAGE, **{f"key {n}\n" * 100: 1 for n in range(1000)}})
    assert text.endswith("and 995 more")
    assert len(text) < 1200
    assert text.isprintable()


def test_a_bulk_event_becomes_an_event_per_image() -> None:
    images = [{"path": "/a"}, {"url": "https://example.com/b"}, {"key": "c"}]
    events = parse_message(
        {"id": "b", "source": "shop", "images": images, "metadata": {"x": 1}, "policy": "classic"}
    )
    assert [event.id for event in events] == ["b/0", "b/1", "b/2"]
    assert [event.image.model_dump(exclude_none=True) for event in events] == images
    assert {(e.source, e.policy, e.priority, json.dumps(e.metadata)) for e in events} == {
        ("shop", "classic", Priority.BULK, '{"x": 1}')
    }
    assert len({event.key for event in events}) == 3


def test_a_bulk_event_may_be_interactive() -> None:
    (event,) = parse_message({"id": "b", "images": [IMAGE], "priority": "interactive"})
    assert event.priority is Priority.INTERACTIVE


def test_inline_bytes_stay_out_of_logs() -> None:
    (event,) = parse_message({"image": {"inline": "c2VjcmV0"}})
    assert "c2VjcmV0" not in repr(event)


IDS = st.text(min_size=1, max_size=12)


@given(IDS, st.text("ab/:%", min_size=1, max_size=6), st.integers(0, 20))
@example("moderator", "up", 0)
@example("a:b", "a:/5%2F", 0)
@example("s", "a:", 0)
def test_an_image_of_a_bulk_event_and_an_event_that_is_called_so_are_two(
    source: str, bulk: str, n: int
) -> None:
    images = parse_message({"id": bulk, "source": source, "images": [IMAGE] * (n + 1)})
    single = Event.model_validate({"id": f"{bulk}/{n}", "source": source, "image": IMAGE, "priority": "bulk"})
    assert images[n].id == single.id
    assert images[n].key != single.key == event_key(source, single.id)
    assert images[n].before_bulk() == single
    assert bulk_image_key(single.key) == images[n].key
    assert split_key(single.key) == (source, single.id, None)
    assert split_key(images[n].key) == (source, single.id, bulk)
    assert parse_message(images[n].model_dump(mode="json", exclude_none=True)) == [images[n]]


@given(IDS, IDS, IDS, IDS)
def test_keys_are_those_of_one_event_alone(source: str, id: str, other_source: str, other: str) -> None:
    assert (event_key(source, id) == event_key(other_source, other)) == (
        (source, id) == (other_source, other)
    )
    assert split_key(event_key(source, id)) == (source, id, None)


@pytest.mark.parametrize(
    ("id", "bulk"), [("up/1", "down"), ("up", "up"), ("up/01", "up"), ("up/x", "up"), ("/1", "")]
)
def test_an_image_is_named_after_its_bulk_event(id: str, bulk: str) -> None:
    assert "bulk" in refused({"id": id, "bulk": bulk, "image": IMAGE})


def test_a_bulk_event_is_no_image_of_one() -> None:
    assert "bulk: only an image" in refused({"id": "up", "bulk": "up", "images": [IMAGE]})
