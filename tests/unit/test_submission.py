import base64
from typing import Any

import pytest

from moderator.errors import EventInvalid
from moderator.events import MAX_IMAGES, parse_message
from moderator.submission import check_submission

GOOD = base64.b64encode(b"image").decode()


def check(body: dict[str, Any], *buckets: str) -> None:
    check_submission(parse_message({"id": "a", **body}), 10, buckets)


@pytest.mark.parametrize(
    "body",
    [
        {"image": {"path": "/srv/cat.jpg"}},
        {"image": {"path": "/srv/../cat.jpg"}},
        {"image": {"url": "https://example.org/cat.jpg?a=b"}},
        {"image": {"url": "http://10.0.0.1:8080/cat.jpg"}},  # the worker's settings decide
        {"image": {"inline": GOOD}},
        {"image": {"path": "/x"}, "policy": "market-place2"},
        {"image": {"path": "/x"}, "policy": "marketplace@12"},
        {"image": {"path": "/x"}, "policy": ""},  # the default
        {"image": {"path": "/x"}, "reply": {"webhook": "http://example.org/hook"}},
        {"image": {"path": "/x"}, "reply": {"webhook": ""}},  # none
        {"images": [{"path": "/x"}, {"inline": GOOD}]},
    ],
)
def test_what_a_worker_may_judge(body: dict[str, Any]) -> None:
    check(body)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ({"path": "cat.jpg"}, "path: is not absolute"),
        ({"path": "./cat.jpg"}, "path: is not absolute"),
        ({"path": "~/cat.jpg"}, "path: is not absolute"),
        ({"path": ""}, "path: is not absolute"),
        ({"path": "/cat\0.jpg"}, "path: is not absolute"),
        ({"url": "ftp://example.org/cat.jpg"}, "url: .*neither http nor https"),
        ({"url": "file:///etc/passwd"}, "url: .*neither http nor https"),
        ({"url": "s3://bucket/cat.jpg"}, "url: .*neither http nor https"),
        ({"url": "example.org/cat.jpg"}, "url: .*neither http nor https"),
        ({"url": "https:///cat.jpg"}, "url: .*host"),
        ({"url": "https://me:secret@example.org/"}, "url: .*credentials"),
        ({"url": "https://example.org:22/"}, "url: .*port"),
        ({"url": "https://exa mple.org/"}, "url: .*spaces"),
        ({"url": ""}, "url: "),
        ({"key": "bucket/cat.jpg"}, "key: no object store"),
        ({"inline": "no base64!"}, "inline: inline is not base64"),
        ({"inline": "data:;base64,AA"}, "inline: inline is not base64"),
        ({"inline": ""}, "inline: is empty"),
        (
            {"inline": base64.b64encode(b"x" * 11).decode()},
            r"inline: .*larger than 10 bytes \(MODERATOR_MAX_BYTES\)",
        ),
    ],
)
def test_what_none_can(image: dict[str, str], problem: str) -> None:
    with pytest.raises(EventInvalid, match=rf"\Aimage\.{problem}"):
        check({"image": image})
    with pytest.raises(EventInvalid, match=rf"\Aimages\.1\.{problem}"):
        check({"images": [{"path": "/x"}, image]})


def test_objects_of_the_buckets_that_are_set() -> None:
    check({"image": {"key": "uploads/a b.jpg"}}, "uploads")
    check({"image": {"key": "uploads/a.jpg", "version": "v1"}}, "uploads")
    for key, problem in (
        ("uploads", "BUCKET/KEY"),
        ("others/a.jpg", "MODERATOR_BUCKETS"),
        ("uploads/../x", "'..'"),
    ):
        with pytest.raises(EventInvalid, match=rf"\Aimage\.key: .*{problem}"):
            check({"image": {"key": key}}, "uploads")


@pytest.mark.parametrize(
    "policy", ["Marketplace", "market place", "../x", "a_b", "a@0", "a@x", "a@", "-a", "ä", "x" * 65]
)
def test_names_that_no_policy_has(policy: str) -> None:
    with pytest.raises(EventInvalid, match=r"\Apolicy: "):
        check({"image": {"path": "/x"}, "policy": policy})


@pytest.mark.parametrize("webhook", ["ftp://example.org/", "no url", "http://", "http://me:pw@example.org/"])
def test_webhooks_that_are_no_address(webhook: str) -> None:
    with pytest.raises(EventInvalid, match=r"\Areply\.webhook: "):
        check({"image": {"path": "/x"}, "reply": {"webhook": webhook}})


def test_a_message_that_redis_would_not_take() -> None:
    text = base64.b64encode(b"x" * 300_000).decode()
    events = parse_message({"id": "a", "images": [{"inline": text}] * MAX_IMAGES})
    with pytest.raises(EventInvalid, match="several messages"):
        check_submission(events, max_bytes=1_000_000)
