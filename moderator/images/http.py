"""An HTTP client for URLs that strangers wrote: images to fetch, webhooks to call.

What is bounded: where it connects (`network.GuardedBackend`), the schemes, the redirects, the bytes, and the
time of the whole exchange. Proxies of the environment are not used: a proxy would resolve names by itself,
past the check of addresses. Messages show scheme and host only, because paths and queries carry secrets
(pre-signed URLs).
"""

import io
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Self
from urllib.parse import quote, urljoin, urlsplit

import httpcore2

from moderator.errors import FetchFailed, FetchRefused, ImageNotFound, ImageTooLarge
from moderator.images.addresses import Network
from moderator.images.breaker import Breakers
from moderator.images.network import GuardedBackend, Resolver, resolve, time_left, time_limit

MAX_REDIRECTS = 3
#: How much of an answer to a POST is read so that its connection can be used again.
MAX_ANSWER = 65_536

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})")
_CONTROLS = re.compile(r"[\x00-\x20\x7f\\]")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: 4xx answers that mean "later": request timeout, too early, too many requests.
_TRANSIENT = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Target:
    """A URL that was taken apart and found acceptable. `target` is path and query, in ASCII."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """What messages may show: scheme and host."""
        return f"{self.scheme}://{self._bracketed}"

    @property
    def site(self) -> str:
        """Scheme, host and port: what is up or down as one."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """The Host header."""
        return self._bracketed if self.port == _PORTS[self.scheme] else f"{self._bracketed}:{self.port}"

    @property
    def url(self) -> httpcore2.URL:
        """The same for the HTTP library, so that nothing parses the text a second time."""
        return httpcore2.URL(scheme=self.scheme, host=self.host, port=self.port, target=self.target)

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_url(url: str) -> Target:
    """Take a URL apart.

    Raises:
        FetchRefused: another scheme, credentials, or no URL at all. The message never repeats the URL.
    """
    if _CONTROLS.search(url):
        raise FetchRefused("the URL holds spaces, control characters or backslashes; percent-encode them")
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError as error:
        raise FetchRefused("the URL is malformed: give http(s)://host/path") from error
    if scheme not in _PORTS:
        raise FetchRefused("the URL is neither http nor https")
    if "@" in parts.netloc:
        raise FetchRefused("the URL carries credentials; give a pre-signed URL instead")
    if port == 0:
        raise FetchRefused("the URL names port 0")
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]")
    return Target(scheme, _checked_host(host, "[" in parts.netloc), port or _PORTS[scheme], target)


def _checked_host(host: str, bracketed: bool) -> str:
    try:
        if ":" in host or bracketed:
            return str(IPv6Address(host.partition("%")[0]))  # no zone: it names an interface of this machine
        ascii_host = host if host.isascii() else host.encode("idna").decode("ascii")
    except ValueError as error:
        raise FetchRefused("the URL's host is no host name or address") from error
    if not _HOST.fullmatch(ascii_host):
        raise FetchRefused("the URL's host is no host name or address")
    return ascii_host.lower()


class GuardedClient:
    """GET and POST to addresses on the public internet and in `networks`. Threads share one client.

    `timeout` is in seconds and covers a whole call: resolving, connecting, redirects and the body.
    `resolver` and `ssl_context` replace the system's. `breakers` keep from hosts that fail all the time.
    """

    def __init__(
        self,
        networks: Sequence[Network] = (),
        timeout: float = 10.0,
        resolver: Resolver = resolve,
        ssl_context: ssl.SSLContext | None = None,
        breakers: Breakers | None = None,
    ) -> None:
        self._timeout = timeout
        self._breakers = breakers or Breakers()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=ssl_context or httpcore2.default_ssl_context(),
            # Callers bound the concurrency: they are threads.
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
            FetchRefused: the URL or a redirect leads where we do not go, or the body is encoded.
            FetchFailed: time-out, connection error, 408, 425, 429 or 5xx; trying again may help.
            HostUnavailable: the host failed too often just now and was not asked.
            ImageNotFound: any other answer that is no success.
            ImageTooLarge: the body is larger than `max_bytes`.
        """
        with time_limit(self._timeout):
            for _ in range(MAX_REDIRECTS + 1):
                target = parse_url(url)
                headers = {"Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"}
                with (
                    self._breakers.watch(target.site),
                    self._exchange("GET", target, headers) as response,
                ):
                    location = _header(response, b"location")
                    if response.status not in _REDIRECTS or location is None:
                        return _body(response, target, max_bytes)
                url = _redirected(url, location)
        raise FetchRefused(f"{target.origin} redirects more than {MAX_REDIRECTS} times")

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Send `body` and return the answer's status. Redirects are not followed; the answer is discarded.

        Raises:
            FetchRefused: the URL leads where we do not go.
            FetchFailed: time-out or connection error; trying again may help.
            HostUnavailable: the host failed too often just now and was not asked.
        """
        target = parse_url(url)
        with (
            time_limit(self._timeout),
            self._breakers.watch(target.site) as outcome,
            self._exchange("POST", target, {**headers, "Content-Length": str(len(body))}, body) as response,
        ):
            outcome.failed = response.status >= 500 or response.status in _TRANSIENT
            read = 0
            for chunk in response.iter_stream():
                read += len(chunk)
                time_left()
                if read > MAX_ANSWER:
                    break
            return response.status

    @contextmanager
    def _exchange(
        self, method: str, target: Target, headers: Mapping[str, str], body: bytes | None = None
    ) -> Iterator[httpcore2.Response]:
        fields = [("Host", target.authority), ("User-Agent", "moderator"), *headers.items()]
        try:
            with self._pool.stream(method, target.url, headers=fields, content=body) as response:
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


def _reason(error: Exception) -> str:
    """What the operating system or TLS says; nothing that the peer wrote."""
    cause = error.args[0] if error.args else None  # the library's errors wrap the one below
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({cause.verify_message})"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error)
