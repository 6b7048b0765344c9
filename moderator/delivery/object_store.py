"""Act on exactly the state of an object that was judged, in an S3-compatible store.

Rights: `s3:GetObject`, and `GetObjectVersion` in buckets with versions; for `tag` also `GetObject(Version)Tagging` and
`PutObject(Version)Tagging`; for `quarantine` `PutObject` in that bucket; for `delete` `DeleteObject(Version)`.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from moderator.errors import (
    ConsumerUnavailable,
    ExtraMissing,
    ObjectActionFailed,
    ObjectActionRefused,
    ObjectChanged,
    ObjectUnverified,
)
from moderator.fetching.object_keys import ObjectName
from moderator.fetching.sources.s3_client import s3_client
from moderator.settings import Settings

try:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )
    from urllib3.exceptions import HTTPError
except ImportError as error:
    raise ExtraMissing("buckets need boto3: pip install 'moderator[bucket]'") from error

TAG_KEY = "moderation"
#: The version of objects that were written without versions: they can be overwritten under it.
NULL_VERSION = "null"
_CHUNK_BYTES = 1 << 20
_MISSING = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "MethodNotAllowed", "404", "405"})
_TRANSIENT = frozenset({"RequestTimeout", "SlowDown", "Throttling", "TooManyRequests", "OperationAborted"})
_LOGIN = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "RequestTimeTooSkewed"}
)
_OVERWRITTEN = (
    "the object was overwritten since it was judged; nothing was done to it. Its later event decides on it"
)


@dataclass(frozen=True)
class JudgedObject:
    """An object in the state that was judged."""

    name: ObjectName
    version: str | None
    """Pins it; None: the bucket keeps no versions, and `etag` is compared instead."""
    etag: str
    state: str
    """Version or SHA-256: distinguishes states of an object."""

    def at(self) -> dict[str, str]:
        """Return the arguments of boto3 that name it."""
        where = {"Bucket": self.name.bucket, "Key": self.name.key}
        return where if self.version is None else {**where, "VersionId": self.version}


class ObjectStore:
    """An object store, with typed errors. Threads may share it.

    All methods raise:
        ObjectActionFailed: the store failed; a retry may help.
        ObjectActionRefused: it refuses.
        ConsumerUnavailable: credentials are missing or not accepted.
        ObjectChanged: the object is no longer what was judged.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = s3_client(settings)
        self._bytes_max = settings.max_bytes

    def find(self, name: ObjectName, version: str | None, digest: str | None) -> JudgedObject | None:
        """Find an object in the state that was judged; None: it is gone.

        Args:
            name: of the object.
            version: that was judged; None: unknown, then the object is read and compared by its digest.
            digest: SHA-256 of what was judged.

        Raises:
            ObjectUnverified: both are unknown.
        """
        where = {"Bucket": name.bucket, "Key": name.key}
        try:
            if version is not None and version != NULL_VERSION:
                head = self._call("head_object", **where, VersionId=version)
                return JudgedObject(name, version, head["ETag"], version)
            if digest is None:
                raise ObjectUnverified(
                    "the verdict has neither a version nor a digest of the object, so it may have been overwritten; "
                    "name versions in events (`image.version`)"
                )
            return self._compare(name, digest)
        except _Gone:
            return None

    def tag(self, judged: JudgedObject, value: str) -> None:
        """Set the tag `moderation`; other tags stay."""
        found = {
            tag["Key"]: tag["Value"] for tag in self._call("get_object_tagging", **judged.at())["TagSet"]
        }
        if found.get(TAG_KEY) == value:
            return
        tags = [{"Key": key, "Value": text} for key, text in {**found, TAG_KEY: value}.items()]
        self._call("put_object_tagging", **judged.at(), Tagging={"TagSet": tags})
        # Tags know no condition. One that reached what was written meanwhile is reported.
        if judged.version is None and self._call("head_object", **judged.at())["ETag"] != judged.etag:
            raise ObjectChanged(
                "the object was overwritten while it was tagged, so the tag may be on what was written"
            )

    def copy(self, judged: JudgedObject, to: ObjectName) -> None:
        """Copy the object, unless the copy is there."""
        try:
            self._call("head_object", Bucket=to.bucket, Key=to.key)
        except _Gone:
            self._call(
                "copy_object",
                Bucket=to.bucket,
                Key=to.key,
                CopySource=judged.at(),
                CopySourceIfMatch=judged.etag,
            )

    def delete(self, judged: JudgedObject) -> None:
        """Delete the object: of several versions, the one that was judged, for good."""
        condition = {"IfMatch": judged.etag} if judged.version is None else {}
        try:
            self._call("delete_object", **judged.at(), **condition)
        except _Gone:
            return

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _compare(self, name: ObjectName, digest: str) -> JudgedObject:
        with _typed():
            answer = self._client.get_object(Bucket=name.bucket, Key=name.key)
            with closing(answer["Body"]) as body:
                if answer["ContentLength"] > self._bytes_max:  # too large to have been judged
                    raise ObjectChanged(_OVERWRITTEN)
                found = sha256()
                while chunk := body.read(_CHUNK_BYTES):
                    found.update(chunk)
        if found.hexdigest() != digest:
            raise ObjectChanged(_OVERWRITTEN)
        version = answer.get("VersionId", NULL_VERSION)
        return JudgedObject(name, None if version == NULL_VERSION else version, answer["ETag"], digest)

    def _call(self, operation: str, **arguments: Any) -> Any:
        with _typed():
            return getattr(self._client, operation)(**arguments)


class _Gone(ObjectActionRefused):
    """The object or the version does not exist."""


@contextmanager
def _typed() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _answered(error) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ConsumerUnavailable("there are no credentials for the object store") from error
    except ParamValidationError as error:
        raise ObjectActionRefused("the object store cannot be asked about the object") from error
    except (BotoCoreError, HTTPError) as error:  # their messages hold the URL, and so the key
        raise ObjectActionFailed(
            f"the object store did not answer as it should: {type(error).__name__}"
        ) from error


def _answered(error: ClientError) -> Exception:
    """Return the error for an answer that is no success."""
    code = str(error.response.get("Error", {}).get("Code", ""))[:64]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"the object store answered {status} {code} to {error.operation_name}"
    if status >= 500 or status in (408, 409, 425, 429) or code in _TRANSIENT:
        return ObjectActionFailed(said)
    if code in _LOGIN:
        return ConsumerUnavailable(f"{said}; check the credentials, and the clock of this machine")
    if status == 412 or code == "PreconditionFailed":
        return ObjectChanged(_OVERWRITTEN)
    if code == "NoSuchBucket":
        return ObjectActionRefused(f"{said}; check MODERATOR_QUARANTINE and MODERATOR_S3_ENDPOINT")
    if code in _MISSING or status == 404:
        return _Gone(said)
    return ObjectActionRefused(f"{said}; grant the right to do so")
