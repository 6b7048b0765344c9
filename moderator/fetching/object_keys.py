"""Names of objects in buckets: `BUCKET/KEY`, as an event's `image.key` has them. Pure.

The bucket ends at the first slash, for no bucket's name has one; everything after it is the object's key, taken
literally, whatever characters it has. So a version is a field of its own (`image.version`).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from moderator.errors import FetchRefused

#: Most bytes of a key in UTF-8, as S3, GCS and Azure have it.
KEY_BYTES_MAX = 1024

NO_BUCKETS = (
    "no object store is set up for keys; name its buckets in MODERATOR_BUCKETS, or send a path, a pre-signed url or "
    "inline bytes"
)

#: What S3, GCS and MinIO accept or once accepted.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True)
class ObjectName:
    """An object: its bucket, and its key therein."""

    bucket: str
    key: str


def parse_object_name(text: str, allowed: Collection[str]) -> ObjectName:
    """Parse `BUCKET/KEY`.

    Args:
        text: the name.
        allowed: the buckets that may be named.

    Raises:
        FetchRefused: it names no object, or one of another bucket; the message says what to do.
    """
    if not allowed:
        raise FetchRefused(NO_BUCKETS)
    bucket, slash, key = text.partition("/")
    if not slash or not key or not _BUCKET.fullmatch(bucket):
        raise FetchRefused("key names no object; give BUCKET/KEY, without s3:// and without a leading slash")
    if bucket not in allowed:
        raise FetchRefused(f"key names the bucket {bucket}, which is not in MODERATOR_BUCKETS; add it there")
    # Stores and the proxies before them may resolve these like a path, which leads out of the bucket.
    if "\0" in key or not {".", ".."}.isdisjoint(key.split("/")):
        raise FetchRefused("key has a part '.' or '..' or a zero byte, which stores read in different ways")
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise FetchRefused("key cannot be written in UTF-8, so no object has it") from error
    if size > KEY_BYTES_MAX:
        raise FetchRefused(f"key has {size} bytes in UTF-8; no object's key has more than {KEY_BYTES_MAX}")
    return ObjectName(bucket, key)
