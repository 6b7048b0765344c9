import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import EventInvalid
from moderator.gateway.hooks.imgproxy import PATH_CHARACTERS_MAX, read_source, source_event

# The example of imgproxy's page "Signing the URL".
KEY = bytes.fromhex("736563726574")
SALT = bytes.fromhex("68656c6c6f")
SIGNED = (
    "/oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXH8/rs:fill:300:400:0/g:sm/"
    "aHR0cDovL2V4YW1w/bGUuY29tL2ltYWdl/cy9jdXJpb3NpdHku/anBn.png"
)
SOURCE = "http://example.com/images/curiosity.jpg"


def test_the_documented_example() -> None:
    assert read_source(SIGNED, KEY, SALT) == SOURCE


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/unsafe/plain/http://example.com/a.jpg", "http://example.com/a.jpg"),
        ("/unsafe/rs:fit:300:300/q:80/plain/https://example.com/a.jpg@webp", "https://example.com/a.jpg"),
        ("/_/plain/https%3A%2F%2Fexample.com%2Fa%40b.jpg%3Fx=y@", "https://example.com/a@b.jpg?x=y"),
        ("/_/plain/https:/example.com/a.jpg", "https://example.com/a.jpg"),
        ("/_/plain/s3://bucket/a/b.jpg", "s3://bucket/a/b.jpg"),
        ("/_/rs:fit:1/" + base64.urlsafe_b64encode(b"s3://bucket/a?.jpg").decode(), "s3://bucket/a?.jpg"),
    ],
)
def test_sources_as_imgproxy_reads_them(path: str, source: str) -> None:
    assert read_source(path, b"", b"") == source


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/_",
        "/_/",
        "/_/plain",
        "/_/plain/",
        "/_/plain/@png",
        "/_/plain/a@b@c",
        "/_/rs:fit:1",
        "/_/%%%",
        "/_/a",
        "/_/plain/%ff",
        "/_/.png",
        "/_/plain/" + "a" * PATH_CHARACTERS_MAX,
    ],
)
def test_paths_without_a_source(path: str) -> None:
    with pytest.raises(EventInvalid):
        read_source(path, b"", b"")


@pytest.mark.parametrize(
    "path",
    [
        SIGNED.replace("300", "301"),
        SIGNED.replace("/oKf", "/oKg"),
        SIGNED[1:].partition("/")[2],
        "/unsafe/plain/http://e/a",
        "/" + SIGNED,
        "/ä/plain/http://e/a",
        "//plain/http://e/a",
    ],
)
def test_a_wrong_signature(path: str) -> None:
    with pytest.raises(EventInvalid):
        read_source(path, KEY, SALT)


@given(st.text(st.characters(codec="ascii"), max_size=50), st.binary(min_size=1), st.binary())
def test_only_the_key_makes_a_signature(path: str, key: bytes, salt: bytes) -> None:
    signature = base64.urlsafe_b64encode(hmac.digest(key, salt + f"/{path}".encode(), "sha256")).decode()
    problems = []
    for written in (signature, signature[:-2], "unsafe"):
        try:
            problems.append(read_source(f"/{written}/{path}", key, salt))
        except EventInvalid as error:
            problems.append(str(error))
    assert ["signature is wrong" in problem for problem in problems] == [False, True, True]


def test_a_source_is_one_event_however_it_is_resized() -> None:
    event = source_event("http://example.com/a.jpg", "p")
    assert (event["image"], event["policy"]) == ({"url": "http://example.com/a.jpg"}, "p")
    assert event == source_event("http://example.com/a.jpg", "p")
    assert event["id"] != source_event("http://example.com/b.jpg", "p")["id"]
    assert event["id"] != source_event("http://example.com/a.jpg", None)["id"]
    assert source_event("s3://bucket/a/b.jpg", None)["image"] == {"key": "bucket/a/b.jpg"}


@pytest.mark.parametrize(
    "source", ["local:///etc/passwd", "gs://b/a", "abs://b/a", "a.jpg", "://", "file:///a"]
)
def test_a_source_that_workers_do_not_take(source: str) -> None:
    with pytest.raises(EventInvalid, match=r"http\(s\):// nor s3://"):
        source_event(source, None)
