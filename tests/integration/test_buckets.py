"""Objects by key, from a store that speaks S3."""

from collections.abc import Iterator

import pytest

from moderator.errors import FetchRefused, ImageNotFound, ImageTooLarge
from moderator.events import ImageReference
from moderator.fetching.fetcher import Fetcher
from moderator.settings import Settings
from tests.support.aws import Aws, aws_server

KEYS = ("a.jpg", "a b+c%2Fd?versionId=x#y&z=1.jpg", "日本/ä.jpg", "/leading", "a//b", "trailing ", "~a'(b)*!")


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_server() as aws:
        yield aws


@pytest.fixture(scope="module")
def fetcher(aws: Aws) -> Fetcher:
    s3 = aws.client("s3")
    for bucket in ("uploads", "versions", "secret"):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    return Fetcher.from_settings(Settings(buckets="uploads, versions", max_bytes=100, **aws.settings))


@pytest.mark.parametrize("key", KEYS)
def test_any_key(aws: Aws, fetcher: Fetcher, key: str) -> None:
    aws.client("s3").put_object(Bucket="uploads", Key=key, Body=key.encode())
    assert fetcher.fetch(ImageReference(key=f"uploads/{key}")) == key.encode()


def test_versions(aws: Aws, fetcher: Fetcher) -> None:
    s3 = aws.client("s3")
    first, second = (
        s3.put_object(Bucket="versions", Key="a", Body=body)["VersionId"] for body in (b"first", b"second")
    )
    assert fetcher.fetch(ImageReference(key="versions/a")) == b"second"
    assert fetcher.fetch(ImageReference(key="versions/a", version=first)) == b"first"
    s3.delete_object(Bucket="versions", Key="a")
    assert fetcher.fetch(ImageReference(key="versions/a", version=second)) == b"second"
    with pytest.raises(ImageNotFound):
        fetcher.fetch(ImageReference(key="versions/a"))
    with pytest.raises(ImageNotFound):
        fetcher.fetch(ImageReference(key="versions/a", version="none"))


def test_what_is_missing_large_or_elsewhere(aws: Aws, fetcher: Fetcher) -> None:
    aws.client("s3").put_object(Bucket="uploads", Key="large", Body=bytes(101))
    aws.client("s3").put_object(Bucket="secret", Key="a", Body=b"secret")
    with pytest.raises(ImageTooLarge, match="101 bytes"):
        fetcher.fetch(ImageReference(key="uploads/large"))
    with pytest.raises(ImageNotFound, match="no such object"):
        fetcher.fetch(ImageReference(key="uploads/missing"))
    for key in ("secret/a", "uploads/../secret/a"):
        with pytest.raises(FetchRefused):
            fetcher.fetch(ImageReference(key=key))
    nowhere = Fetcher.from_settings(Settings(buckets="nowhere", **aws.settings))
    with pytest.raises(FetchRefused, match="no bucket nowhere"):
        nowhere.fetch(ImageReference(key="nowhere/a"))
