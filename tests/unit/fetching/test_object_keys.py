import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import FetchRefused
from moderator.fetching.object_keys import KEY_BYTES_MAX, ObjectName, parse_object_name

BUCKETS = ("uploads", "other.bucket")


@pytest.mark.parametrize(
    "key",
    [
        "a.jpg",
        "a/b/c.jpg",
        "a b+c%2F?versionId=x#y",
        "/leading",
        "trailing/",
        "ä/日本.png",
        "a//b",
        "..a",
        "a:b",
        "~",
    ],
)
def test_everything_after_the_bucket_is_the_key(key: str) -> None:
    assert parse_object_name(f"uploads/{key}", BUCKETS) == ObjectName("uploads", key)


@pytest.mark.parametrize(
    "text", ["", "uploads", "uploads/", "/uploads/a", "s3://uploads/a", "/", "up\0loads/a", "ü/a"]
)
def test_what_names_no_object(text: str) -> None:
    with pytest.raises(FetchRefused, match="BUCKET/KEY"):
        parse_object_name(text, BUCKETS)


@pytest.mark.parametrize("bucket", ["others", "Uploads", "uploads.", "other-bucket", "up"])
def test_only_listed_buckets(bucket: str) -> None:
    with pytest.raises(FetchRefused, match="MODERATOR_BUCKETS"):
        parse_object_name(f"{bucket}/a.jpg", BUCKETS)


@pytest.mark.parametrize("key", ["../other.bucket/a", "a/../b", "a/./b", "..", ".", "a/..", "a\0b"])
def test_a_key_that_a_server_may_resolve_like_a_path(key: str) -> None:
    with pytest.raises(FetchRefused, match="different ways"):
        parse_object_name(f"uploads/{key}", BUCKETS)


def test_a_key_that_no_object_has() -> None:
    assert parse_object_name("uploads/" + "ä" * (KEY_BYTES_MAX // 2), BUCKETS)
    with pytest.raises(FetchRefused, match=r"1026 bytes"):
        parse_object_name("uploads/" + "ä" * (KEY_BYTES_MAX // 2 + 1), BUCKETS)
    with pytest.raises(FetchRefused, match="UTF-8"):
        parse_object_name("uploads/\ud800", BUCKETS)


@given(st.text(max_size=60))
def test_any_text_names_an_allowed_object_or_is_refused(text: str) -> None:
    try:
        name = parse_object_name(text, BUCKETS)
    except FetchRefused:
        return
    assert name.bucket in BUCKETS
    assert f"{name.bucket}/{name.key}" == text
