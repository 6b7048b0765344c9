"""HTTP client for untrusted URLs: images to fetch, webhooks to call.

It bounds the addresses (`network.GuardedBackend`), the hosts, schemes and ports (`urls`), the redirects, the
bytes, and the time of the whole exchange. It ignores the environment's proxies: a proxy would resolve names
itself, bypassing the address check. Messages show scheme and host only, because paths and queries carry
secrets (pre-signed URLs).
"""

import io
import logging
import re
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Self
from urllib.parse import urljoin

import httpcore2

from moderator.errors import FetchFailed, FetchRefused, ImageNotFound, ImageTooLarge
from moderator.fetching.addresses import Network
from moderator.fetching.breaker import Breakers
from moderator.fetching.network import GuardedBackend, Resolver, exchange_limits, resolve, time_left
from moderator.fetching.shared_access import SharedAccess, check_access
from moderator.fetching.urls import AllowedHosts, Target, parse_url

MAX_REDIRECTS = 3
#: Maximum number of bytes of a POST response that are read so that its connection can be reused.
MAX_ANSWER_BYTES = 65_536
#: Bytes that a call may receive besides bodies: headers, interim responses, the framing of a chunked body.
MAX_OVERHEAD_BYTES = 1 << 20

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: 4xx responses that mean "later": request timeout, too early, too many requests.
_TRANSIENT = frozenset({408, 425, 429})

# At level DEBUG the library would log each response's headers, and a redirect's location may hold a secret.
logging.getLogger("httpcore2").setLevel(logging.INFO)


@dataclass(frozen=True)
class PostAnswer:
    """A server's response to a POST. `retry_after`: seconds that the server asks the client to wait."""

    status: int
    retry_after: float = 0.0


class GuardedClient:
    """Client for GET and POST to addresses on the public internet and in `networks`. Threads share one client.

    `timeout` is in seconds and covers a whole call: resolving, connecting, redirects and the body.
    URLs and redirects may name only `hosts`; None: all.
    `resolver` and `ssl_context` replace the system's. `breakers` skip hosts that keep failing.
    `access` has signatures for private blobs: GET adds them to the URL that it is given, never to a redirect.
    """

    def __init__(
        self,
        networks: Sequence[Network] = (),
        timeout: float = 10.0,
        resolver: Resolver = resolve,
        ssl_context: ssl.SSLContext | None = None,
        hosts: AllowedHosts | None = None,
        breakers: Breakers | None = None,
        access: SharedAccess | None = None,
    ) -> None:
        self._timeout = timeout
        self._hosts = hosts
        self._breakers = breakers or Breakers()
        self._access = access or SharedAccess()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=ssl_context or httpcore2.default_ssl_context(),
            # The number of calling threads bounds the concurrency.
            max_connections=None,
            max_keepalive_connections=32,
            keepalive_expiry=15.0,
            network_backend=GuardedBackend(networks, resolver),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def get(self, url: str, max_bytes: int) -> bytes:
        """Fetch a body of at most `max_bytes` bytes; up to 3 redirects are followed, each one checked.

        Raises:
            FetchRefused: the URL or a redirect is not allowed, or the body is encoded, or more than twice
                as many bytes arrive as the body may have, or Azure refuses access.
            FetchFailed: timeout, connection error, 408, 425, 429 or 5xx; a retry may help.
            HostUnavailable: the host failed too often recently and was not contacted.
            ImageNotFound: any other unsuccessful response.
            ImageTooLarge: the body is larger than `max_bytes`.
        """
        with exchange_limits(self._timeout, 2 * max_bytes + MAX_OVERHEAD_BYTES):
            for redirects in range(MAX_REDIRECTS + 1):
                target = self._acceptable(url)
                signature = self._access.find(target) if redirects == 0 else None
                headers = {"Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"}
                with (
                    self._breakers.watch(target.site),
                    self._exchange(
                        "GET", signature.sign(target) if signature else target, headers
                    ) as response,
                ):
                    location = _header(response, b"location")
                    if response.status not in _REDIRECTS or location is None:
                        code = _header(response, b"x-ms-error-code")
                        check_access(target, signature, response.status, code, datetime.now(UTC))
                        return _body(response, target, max_bytes)
                url = _redirected(url, location)
        raise FetchRefused(f"{target.origin} redirects more than {MAX_REDIRECTS} times")

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> PostAnswer:
        """Send `body` and return the response's status and delay. Ignores redirects and the response body.

        Raises:
            FetchRefused: the URL is not allowed, or the response headers never end.
            FetchFailed: timeout or connection error; a retry may help.
            HostUnavailable: the host failed too often recently and was not contacted.
        """
        target = self._acceptable(url)
        with (
            exchange_limits(self._timeout, MAX_OVERHEAD_BYTES),
            self._breakers.watch(target.site) as outcome,
            self._exchange("POST", target, {**headers, "Content-Length": str(len(body))}, body) as response,
        ):
            outcome.failed = response.status >= 500 or response.status in _TRANSIENT
            read = 0
            for chunk in response.iter_stream():
                read += len(chunk)
                time_left()
                if read > MAX_ANSWER_BYTES:
                    break
            return PostAnswer(response.status, _retry_after(_header(response, b"retry-after")))

    def _acceptable(self, url: str) -> Target:
        target = parse_url(url)
        if self._hosts is not None:
            self._hosts.check(target.host)
        return target

    @contextmanager
    def _exchange(
        self, method: str, target: Target, headers: Mapping[str, str], body: bytes | None = None
    ) -> Iterator[httpcore2.Response]:
        # Passed in parts, so that nothing parses the text a second time.
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.target)
        fields = [("Host", target.authority), ("User-Agent", "moderator"), *headers.items()]
        try:
            with self._pool.stream(method, url, headers=fields, content=body) as response:
                yield response
        except httpcore2.TimeoutException as error:
            raise FetchFailed(f"{target.origin} did not answer within {self._timeout:g} s") from error
        except httpcore2.NetworkError as error:
            raise FetchFailed(f"{target.origin} cannot be reached: {_reason(error)}") from error
        except httpcore2.LocalProtocolError as error:
            raise FetchRefused(f"the request to {target.origin} cannot be sent as HTTP") from error
        except httpcore2.RemoteProtocolError as error:
            raise FetchFailed(f"{target.origin} did not answer in HTTP or broke off") from error


def _redirected(url: str, location: bytes) -> str:
    try:
        return urljoin(url, location.decode("utf-8"))
    except ValueError as error:
        raise FetchRefused("a redirect leads to a malformed URL") from error


def _body(response: httpcore2.Response, target: Target, max_bytes: int) -> bytes:
    status = response.status
    if status >= 500 or status in _TRANSIENT:
        raise FetchFailed(f"{target.origin} answered {status}")
    if not 200 <= status < 300:
        raise ImageNotFound(f"{target.origin} answered {status}; check that the URL is right and still valid")
    encoding = (_header(response, b"content-encoding") or b"identity").strip().lower()
    if encoding not in (b"", b"identity"):
        raise FetchRefused(
            f"{target.origin} sent a compressed body (Content-Encoding), which was not asked for"
        )
    length = _header(response, b"content-length")
    too_large = ImageTooLarge(f"{target.origin} sent more than {max_bytes} bytes (MODERATOR_MAX_BYTES)")
    if length is not None and int(length) > max_bytes:
        raise too_large
    body = io.BytesIO()
    for chunk in response.iter_stream():
        time_left()
        if body.tell() + len(chunk) > max_bytes:
            raise too_large
        body.write(chunk)
    return body.getvalue()


def _header(response: httpcore2.Response, name: bytes) -> bytes | None:
    return next((value for key, value in response.headers if key.lower() == name), None)


def _retry_after(value: bytes | None) -> float:
    """Return seconds, from a number or a date; 0 if the header is missing or unreadable."""
    text = (value or b"").decode("latin-1").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        then = parsedate_to_datetime(text)
        return max(0.0, then.timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _reason(error: Exception) -> str:
    """Return the reason given by the operating system or TLS, without any text from the peer."""
    cause = error.args[0] if error.args else None  # the library wraps the underlying error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({cause.verify_message})"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error)
