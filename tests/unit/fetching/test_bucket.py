"""The source of objects against a store whose answers are written down; `tests/integration` has a real one."""

from collections.abc import Iterator

import pytest

from moderator.errors import (
    FetchFailed,
    FetchRefused,
    HostUnavailable,
    ImageError,
    ImageNotFound,
    ImageTooLarge,
    SettingsError,
)
from moderator.events import ImageReference
from moderator.fetching.breaker import Breakers
from moderator.fetching.fetcher import Fetcher
from moderator.fetching.sources.bucket import BucketSource
from moderator.settings import Settings
from tests.support.http_server import Answer, HttpServer

LIMIT = 100


@pytest.fixture(scope="module", autouse=True)
def _credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/nowhere")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        yield


@pytest.fixture(scope="module")
def http() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def settings_for(http: HttpServer, **changes: object) -> Settings:
    return Settings(
        **{
            "buckets": ("uploads",),
            "s3_endpoint": http.url(""),
            "s3_path_style": True,
            "s3_region": "us-east-1",
            "max_bytes": LIMIT,
            "fetch_timeout": 5.0,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def source(http: HttpServer) -> BucketSource:
    return BucketSource(settings_for(http))


def fail(source: BucketSource, reference: str = "uploads/a.jpg") -> ImageError:
    with pytest.raises(ImageError) as caught:
        source.fetch(reference, LIMIT)
    return caught.value


def error_body(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>secret</Message></Error>".encode()


def test_an_object_and_a_version_of_it(http: HttpServer) -> None:
    http.answers = {
        "/uploads/a%20b%2B%3F/c.jpg": [Answer(200, b"image")],
        "/uploads/a.jpg?versionId=v%2F1": [Answer(200, b"first")],
    }
    fetcher = Fetcher.from_settings(settings_for(http))
    assert fetcher.fetch(ImageReference(key="uploads/a b+?/c.jpg")) == b"image"
    assert fetcher.fetch(ImageReference(key="uploads/a.jpg", version="v/1")) == b"first"
    with pytest.raises(FetchRefused, match="versions"):
        fetcher.fetch(ImageReference.model_construct(path="/a", url=None, key=None, inline=None, version="v"))
    fetcher.close()


def test_the_size_is_checked_before_the_body(http: HttpServer, source: BucketSource) -> None:
    http.answers = {"/uploads/a.jpg": [Answer(200, bytes(LIMIT)), Answer(200, bytes(LIMIT + 1))]}
    assert len(source.fetch("uploads/a.jpg", LIMIT)) == LIMIT
    too_large = fail(source)
    assert isinstance(too_large, ImageTooLarge)
    assert "101 bytes" in str(too_large)


@pytest.mark.parametrize(
    ("status", "code", "kind", "remedy"),
    [
        (404, "NoSuchKey", ImageNotFound, "no such object"),
        (404, "NoSuchVersion", ImageNotFound, "no such object"),
        (405, "MethodNotAllowed", ImageNotFound, "deleted"),
        (404, "NoSuchBucket", FetchRefused, "MODERATOR_BUCKETS"),
        (403, "AccessDenied", FetchRefused, "s3:GetObject"),
        (403, "InvalidAccessKeyId", FetchRefused, "credentials"),
        (403, "SignatureDoesNotMatch", FetchRefused, "credentials"),
        (403, "RequestTimeTooSkewed", FetchRefused, "clock"),
        (403, "InvalidObjectState", FetchRefused, "archived"),
        (400, "AuthorizationHeaderMalformed", FetchRefused, "MODERATOR_S3_REGION"),
        (400, "InvalidRequest", FetchRefused, "400 InvalidRequest"),
        (400, "ExpiredToken", FetchFailed, "ExpiredToken"),
        (400, "RequestTimeout", FetchFailed, "RequestTimeout"),
        (429, "TooManyRequests", FetchFailed, "429"),
        (500, "InternalError", FetchFailed, "500"),
        (503, "SlowDown", FetchFailed, "SlowDown"),
    ],
)
def test_answers_that_are_no_success(
    http: HttpServer, source: BucketSource, status: int, code: str, kind: type[ImageError], remedy: str
) -> None:
    http.answers = {"/uploads/a.jpg": [Answer(status, error_body(code))]}
    http.requests.clear()
    error = fail(source)
    assert type(error) is kind
    assert remedy in str(error)
    assert "secret" not in str(error)
    assert len(http.asked("/uploads/a.jpg")) == 1, "the worker retries"


@pytest.mark.parametrize("status", [200, 403, 502])
def test_a_page_that_is_no_store(http: HttpServer, source: BucketSource, status: int) -> None:
    http.answers = {"/uploads/a.jpg": [Answer(status, b"<html>no store", {"content-encoding": "gzip"})]}
    if status == 200:
        assert source.fetch("uploads/a.jpg", LIMIT) == b"<html>no store", "not unpacked: decoding refuses it"
    else:
        assert isinstance(fail(source), FetchFailed if status == 502 else FetchRefused)


def test_a_store_that_is_slow_or_away(http: HttpServer) -> None:
    http.answers = {"/uploads/a.jpg": [Answer(200, b"image", delay=0.3)]}
    assert isinstance(fail(BucketSource(settings_for(http, fetch_timeout=0.1))), FetchFailed)
    away = BucketSource(settings_for(http, s3_endpoint="http://127.0.0.1:9"), Breakers(failures=1))
    first, second = fail(away), fail(away)
    assert type(first) is FetchFailed
    assert "a.jpg" not in str(first)
    assert isinstance(second, HostUnavailable)


def test_without_credentials(http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    http.requests.clear()
    error = fail(BucketSource(settings_for(http)))
    assert isinstance(error, FetchRefused)
    assert "AWS_ACCESS_KEY_ID" in str(error)
    assert not http.requests


def test_other_buckets_are_not_asked_for(http: HttpServer, source: BucketSource) -> None:
    http.requests.clear()
    for reference in ("others/a.jpg", "uploads/../others/a.jpg", "uploads"):
        assert isinstance(fail(source, reference), FetchRefused)
    assert not http.requests


def test_settings_that_name_no_store(http: HttpServer) -> None:
    with pytest.raises(SettingsError, match="MODERATOR_S3_ENDPOINT"):
        BucketSource(settings_for(http, s3_endpoint="store"))
