"""The sources of a backfill: a folder, a bucket, or a table of URLs; each is listed as a stream."""

import csv
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from moderator.backfill.backfill_items import OBJECT_PREFIX
from moderator.backfill.result_parts import load_arrow
from moderator.backoff import exponential
from moderator.errors import ListingFailed, NoImages
from moderator.fetching.object_keys import parse_object_name
from moderator.fetching.sources.s3_client import s3_client
from moderator.image_paths import SUFFIXES
from moderator.settings import Settings

#: Most attempts for one page of a bucket, and the seconds after the first and between the last of them.
PAGE_ATTEMPTS_MAX, PAGE_DELAY_FIRST_SECONDS, PAGE_DELAY_MAX_SECONDS = 6, 0.5, 8.0
#: Rows of a Parquet file read at once.
TABLE_ROWS = 10_000
#: Most characters of a line of a CSV file.
LINE_CHARACTERS_MAX = 1_000_000


@dataclass(frozen=True)
class BackfillSource:
    """A source that exists."""

    name: str
    """The same for every spelling of it."""
    files: bool
    """Whether it names local files."""
    column: str | None
    """The column of a table with the URLs."""
    names: Callable[[], Iterator[str | None]]
    """Lists it: yields the name of each image, and None for each entry that is none."""


def open_source(text: str, column: str, settings: Settings) -> BackfillSource:
    """Return the source that a text names.

    Args:
        text: a folder, `s3://BUCKET/PREFIX`, or a `.parquet` or `.csv` file.
        column: for a table, the column that holds http(s) URLs or `s3://BUCKET/KEY`.
        settings: the object store.

    Raises:
        NoImages: it is nothing of these.
        FetchRefused: `MODERATOR_BUCKETS` does not allow the bucket.
        ExtraMissing: boto3 or pyarrow is not installed.
    """
    if text.startswith(OBJECT_PREFIX):
        bucket, _, prefix = text.removeprefix(OBJECT_PREFIX).partition("/")
        parse_object_name(f"{bucket}/x", settings.buckets)
        client = s3_client(settings)
        name = f"{OBJECT_PREFIX}{bucket}/{prefix}"
        return BackfillSource(name, False, None, lambda: _list_bucket(client, bucket, prefix))
    path = os.path.abspath(text)
    if os.path.isdir(path):
        return BackfillSource(path, True, None, lambda: _walk(path))
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    read = readers.get(Path(path).suffix.lower())
    if read is None or not os.path.isfile(path):
        raise NoImages(f"{text}: give a folder, s3://BUCKET/PREFIX, or a .parquet or .csv file that exists")
    return BackfillSource(path, False, column, lambda: read(path, column))


def may_be_image(name: str) -> bool:
    """Return whether a file or an object may be an image by its name: its suffix is one of an image, or it has none."""
    suffix = os.path.splitext(name)[1].lower()
    return not suffix or suffix in SUFFIXES


def _walk(folder: str) -> Iterator[str | None]:
    """List the files below a folder, in no order, so that a folder of millions is never held in memory."""
    folders = [folder]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        yield entry.path if may_be_image(entry.name) and entry.is_file() else None
        except OSError as error:
            raise ListingFailed(
                f"{folder} cannot be listed ({error.strerror}); give this process the right, or move it away"
            ) from error


def _list_bucket(client: Any, bucket: str, prefix: str) -> Iterator[str | None]:
    options: dict[str, str] = {}
    while True:
        page = _page(client, Bucket=bucket, Prefix=prefix, **options)
        for entry in page.get("Contents", ()):
            key = entry["Key"]
            is_image = entry["Size"] > 0 and not key.endswith("/") and may_be_image(key)
            yield f"{OBJECT_PREFIX}{bucket}/{key}" if is_image else None
        if not page.get("IsTruncated"):
            return
        options = {"ContinuationToken": page["NextContinuationToken"]}


def _page(client: Any, **options: str) -> Any:
    """Return a page of a bucket; failures that may pass are retried for some seconds."""
    from botocore.exceptions import BotoCoreError, ClientError

    attempt = 1
    while True:
        try:
            return client.list_objects_v2(**options)
        except (BotoCoreError, ClientError) as error:
            answer = getattr(error, "response", {})
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            if attempt == PAGE_ATTEMPTS_MAX or (status < 500 and status != 429):
                reason = answer.get("Error", {}).get("Code") or type(error).__name__
                raise ListingFailed(
                    f"{OBJECT_PREFIX}{options['Bucket']} cannot be listed ({reason}); check the credentials, which "
                    "need s3:ListBucket, and MODERATOR_S3_ENDPOINT"
                ) from error
        time.sleep(exponential(attempt, PAGE_DELAY_FIRST_SECONDS, PAGE_DELAY_MAX_SECONDS))
        attempt += 1


def _read_csv(path: str, column: str) -> Iterator[str | None]:
    with _readable(path, csv.Error), open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(_lines(file))
        _check_column(path, column, list(rows.fieldnames or ()))
        for row in rows:
            yield (row[column] or "").strip() or None


def _lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file, none of which may fill the memory."""
    while line := file.readline(LINE_CHARACTERS_MAX):
        if len(line) == LINE_CHARACTERS_MAX:
            raise csv.Error(f"a line has more than {LINE_CHARACTERS_MAX} characters")
        yield line


def _read_parquet(path: str, column: str) -> Iterator[str | None]:
    pyarrow, parquet = load_arrow()
    with _readable(path, pyarrow.ArrowException), parquet.ParquetFile(path) as file:
        _check_column(path, column, file.schema_arrow.names)
        for batch in file.iter_batches(TABLE_ROWS, columns=[column]):
            for value in batch.column(0).to_pylist():
                yield (value.strip() if isinstance(value, str) else None) or None


def _check_column(path: str, column: str, columns: list[str]) -> None:
    if column not in columns:
        shown = ", ".join(columns[:20]) or "none"
        raise NoImages(f"{path} has no column {column}; name one with --column: {shown}")


@contextmanager
def _readable(path: str, broken: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (broken, UnicodeDecodeError) as error:
        raise ListingFailed(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise ListingFailed(f"{path} cannot be read ({error.strerror or error})") from error
