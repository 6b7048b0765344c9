from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow
import pyarrow.parquet
import pytest
from botocore.exceptions import ClientError

from moderator.backfill import backfill_source as module
from moderator.backfill.backfill_source import open_source
from moderator.errors import FetchRefused, ListingFailed, NoImages
from moderator.settings import Settings
from tests.support.tools import needs_extra

SETTINGS = Settings()


def listed(text: Path | str, column: str = "url", settings: Settings = SETTINGS) -> list[str | None]:
    return list(open_source(str(text), column, settings).names())


def test_a_folder_and_all_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "deep/er/b.PNG", "0123abcd", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    names = listed(tmp_path)
    expected = {str(tmp_path / name) for name in ("a.jpg", "deep/er/b.PNG", "0123abcd")}
    assert {name for name in names if name} == expected
    assert names.count(None) == 2, "a text and a link to a folder"
    monkeypatch.chdir(tmp_path)
    assert open_source(".", "url", SETTINGS).name == str(tmp_path)


def test_a_folder_that_goes_away_is_reported(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    source = open_source(str(tmp_path / "images"), "url", SETTINGS)
    (tmp_path / "images").rmdir()
    with pytest.raises(ListingFailed, match="cannot be listed"):
        list(source.names())


def test_a_csv_file(tmp_path: Path) -> None:
    file = tmp_path / "urls.csv"
    file.write_text('\ufeffname,link\na," https://example.com/a.jpg "\nb\n"c, d",https://example.com/b.jpg\n')
    assert listed(file, "link") == ["https://example.com/a.jpg", None, "https://example.com/b.jpg"]
    with pytest.raises(NoImages, match="no column url; name one with --column: name, link"):
        listed(file)


def test_a_csv_file_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_CHARACTERS_MAX", 100)
    file = tmp_path / "urls.csv"
    for content, reason in ((b"url\n" + b"x" * 1000, "more than 100 characters"), (b"url\n\xff\n", "utf-8")):
        file.write_bytes(content)
        with pytest.raises(ListingFailed, match=reason):
            listed(file)


def test_a_parquet_file(tmp_path: Path) -> None:
    file = tmp_path / "urls.parquet"
    table = pyarrow.table({"url": ["https://example.com/a.jpg", None, ""], "n": [1, 2, 3]})
    pyarrow.parquet.write_table(table, file)
    assert listed(file) == ["https://example.com/a.jpg", None, None]
    assert listed(file, "n") == [None, None, None]
    file.write_bytes(b"PAR1 no")
    with pytest.raises(ListingFailed, match="cannot be read"):
        listed(file)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv", "image.jpg"])
def test_nothing_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "image.jpg").touch()
    with pytest.raises(NoImages, match="give a folder"):
        open_source(str(tmp_path / name), "url", SETTINGS)


class Pages:
    """A bucket in pages; some answers are errors first."""

    def __init__(self, *pages: dict[str, Any], errors: tuple[int, ...] = ()) -> None:
        self._pages = pages
        self._errors: Iterator[int] = iter(errors)

    def list_objects_v2(self, **options: str) -> dict[str, Any]:
        assert options["Prefix"] == "up/"
        if (status := next(self._errors, None)) is not None:
            answer = {
                "Error": {"Code": f"Code{status}"},
                "ResponseMetadata": {"HTTPStatusCode": status},
            }
            raise ClientError(answer, "ListObjectsV2")  # type: ignore[arg-type]
        return self._pages[int(options.get("ContinuationToken", "0"))]


PAGES = (
    {
        "Contents": [{"Key": "up/a b.jpg", "Size": 3}, {"Key": "up/folder/", "Size": 0}],
        "IsTruncated": True,
        "NextContinuationToken": "1",
    },
    {"Contents": [{"Key": "up/c", "Size": 9}, {"Key": "up/d.mp4", "Size": 9}], "IsTruncated": False},
)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(module, "PAGE_DELAY_FIRST_SECONDS", 0.0)
    return Settings(buckets=("uploads",), s3_region="eu-west-1")


def test_a_bucket_page_by_page(bucket: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "s3_client", lambda settings: Pages(*PAGES, errors=(503, 500)))
    expected = ["s3://uploads/up/a b.jpg", None, "s3://uploads/up/c", None]
    assert listed("s3://uploads/up/", settings=bucket) == expected


@pytest.mark.parametrize("errors", [(403,), (503,) * module.PAGE_ATTEMPTS_MAX])
def test_a_bucket_that_cannot_be_listed(
    bucket: Settings, monkeypatch: pytest.MonkeyPatch, errors: tuple[int, ...]
) -> None:
    monkeypatch.setattr(module, "s3_client", lambda settings: Pages(*PAGES, errors=errors))
    with pytest.raises(ListingFailed, match=f"Code{errors[0]}"):
        listed("s3://uploads/up/", settings=bucket)


def test_a_bucket_must_be_allowed(bucket: Settings) -> None:
    with pytest.raises(FetchRefused, match="MODERATOR_BUCKETS"):
        open_source("s3://others/", "url", bucket)


def test_the_real_client_lists(bucket: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    moto = needs_extra("moto", "dev")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with moto.mock_aws():
        store = boto3.client("s3", region_name="eu-west-1")
        store.create_bucket(Bucket="uploads", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        for key in ("up/a+b é.jpg", "up/c%2F.png", "other/d.jpg"):
            store.put_object(Bucket="uploads", Key=key, Body=b"x")
        expected = ["s3://uploads/up/a+b é.jpg", "s3://uploads/up/c%2F.png"]
        assert listed("s3://uploads/up/", settings=bucket) == expected
