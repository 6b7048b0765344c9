"""Objects in the buckets that the operator allows, in an S3-compatible store.

It needs the right `s3:GetObject` on them, and `s3:GetObjectVersion` where events name versions; nothing else.
"""

import io
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

from moderator.errors import (
    ExtraMissing,
    FetchFailed,
    FetchRefused,
    ImageError,
    ImageNotFound,
    ImageTooLarge,
)
from moderator.fetching.breaker import Breakers
from moderator.fetching.object_keys import ObjectName, parse_object_name
from moderator.fetching.sources.s3_client import s3_client
from moderator.fetching.sources.source import ImageSource
from moderator.settings import Settings

try:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,
        CredentialRetrievalError,
        HTTPClientError,
        MetadataRetrievalError,
        NoCredentialsError,
        PartialCredentialsError,
    )
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError
except ImportError as error:
    raise ExtraMissing("buckets need boto3: pip install 'moderator[bucket]'") from error

_CHUNK_BYTES = 1 << 20
#: Codes of answers that mean "later", whatever their status.
_TRANSIENT = frozenset({"ExpiredToken", "RequestTimeout", "SlowDown", "Throttling", "TooManyRequests"})
_MISSING = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "MethodNotAllowed", "404"})
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
_LOGIN = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "RequestTimeTooSkewed"})


class BucketSource(ImageSource):
    """Source of objects by `BUCKET/KEY`.

    Args:
        settings: provide the buckets, the store and the timeout.
        breakers: skip the store while it keeps failing; default: every call is made.

    Raises:
        SettingsError: the store cannot be set up.
    """

    def __init__(self, settings: Settings, breakers: Breakers | None = None) -> None:
        self._buckets = frozenset(settings.buckets)
        self._timeout = settings.fetch_timeout
        self._client = s3_client(settings)
        self._breakers = breakers or Breakers()
        self._store = urlsplit(self._client.meta.endpoint_url).netloc

    def fetch(self, reference: str, max_bytes: int) -> bytes:
        """Return an object, in its newest version; `ImageSource.fetch` lists the errors."""
        return self._get(parse_object_name(reference, self._buckets), {}, max_bytes)

    def fetch_version(self, reference: str, version: str, max_bytes: int) -> bytes:
        """Return one version of an object; `ImageSource.fetch` lists the errors."""
        return self._get(parse_object_name(reference, self._buckets), {"VersionId": version}, max_bytes)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _get(self, name: ObjectName, which: dict[str, str], max_bytes: int) -> bytes:
        deadline = time.monotonic() + self._timeout
        with self._breakers.watch(self._store), self._typed_errors(name):
            answer = self._client.get_object(Bucket=name.bucket, Key=name.key, **which)
            with closing(answer["Body"]) as body:
                return self._read(body, answer.get("ContentLength"), max_bytes, deadline)

    def _read(self, body: Any, size: int | None, max_bytes: int, deadline: float) -> bytes:
        """Return the body; its announced size is checked before anything of it is read."""
        if size is not None and size > max_bytes:
            raise ImageTooLarge(f"key has {size} bytes, more than {max_bytes} (MODERATOR_MAX_BYTES)")
        data = io.BytesIO()
        while chunk := body.read(_CHUNK_BYTES):
            if data.tell() + len(chunk) > max_bytes:
                raise ImageTooLarge(f"key is larger than {max_bytes} bytes (MODERATOR_MAX_BYTES)")
            data.write(chunk)
            if time.monotonic() > deadline:
                raise FetchFailed(f"{self._store} did not send the object within {self._timeout:g} s")
        return data.getvalue()

    @contextmanager
    def _typed_errors(self, name: ObjectName) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._answered(name, error) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise FetchRefused(
                "there are no credentials for the object store; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "give the machine a role"
            ) from error
        except (
            ConnectionError,
            CredentialRetrievalError,
            HTTPClientError,
            HTTPError,
            MetadataRetrievalError,
            ResponseParserError,
        ) as error:
            # Their messages hold the URL, and so the key.
            raise FetchFailed(f"{self._store} did not answer as it should: {type(error).__name__}") from error
        except (BotoCoreError, ValueError) as error:
            raise FetchRefused(
                f"{self._store} cannot be asked for the object: {type(error).__name__}"
            ) from error

    def _answered(self, name: ObjectName, error: ClientError) -> ImageError:
        """Return the error for an answer that is no success."""
        code = str(error.response.get("Error", {}).get("Code", ""))[:64]
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        where = f"the bucket {name.bucket} at {self._store}"
        if status >= 500 or status in (408, 425, 429) or code in _TRANSIENT:
            return FetchFailed(f"{self._store} answered {status} {code}")
        if code == "NoSuchBucket":
            return FetchRefused(f"there is no {where[4:]}; check MODERATOR_BUCKETS and MODERATOR_S3_ENDPOINT")
        if code in _MISSING or status == 404:
            return ImageNotFound(f"{where} has no such object or version; was it deleted?")
        if code in _ELSEWHERE or status in (301, 307):
            return FetchRefused(f"{where} is in another region; set MODERATOR_S3_REGION")
        if code in _LOGIN:
            return FetchRefused(
                f"{self._store} refuses the credentials ({code}); check them, and the clock of this machine"
            )
        if code == "InvalidObjectState":
            return FetchRefused(
                "the object is archived; restore it, or submit objects before they are archived"
            )
        if status in (401, 403):
            return FetchRefused(
                f"{where} refuses access ({code}); grant s3:GetObject on it, s3:GetObjectVersion for versions, and "
                "kms:Decrypt for objects under your own key. Without s3:ListBucket, missing objects look like this too"
            )
        return FetchRefused(f"{self._store} answered {status} {code}")
