"""Decide which URLs are acceptable, by their text alone. `network` checks their addresses.

A URL is parsed once and passed on in parts, so that no second parser can interpret it differently.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, urlsplit

from moderator.errors import FetchRefused, SettingsError

if TYPE_CHECKING:
    pass

_PORTS = {"http": 80, "https": 443}
#: Ports of other protocols whose servers could mistake a request for their own language, e.g. mail: the list of the
#: Fetch standard, section "port blocking", plus Redis and memcached.
_REFUSED_PORTS = frozenset(
    {
        0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
        103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512,
        513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719,
        1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669,
        6679, 6697, 10080, 11211,
    }
)  # fmt: skip
_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST = re.compile(rf"(?=.{{1,254}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_CONTROLS = re.compile(r"[\x00-\x20\x7f\\]")
_SAFE = "/%:@!$&'()*+,;=~-._"


@dataclass(frozen=True)
class Target:
    """A parsed and acceptable URL. `target` is path and query, in ASCII."""

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)  # queries carry secrets (pre-signed URLs)

    @property
    def origin(self) -> str:
        """Scheme and host, which messages may show."""
        return f"{self.scheme}://{self._bracketed}"

    @property
    def site(self) -> str:
        """Scheme, host and port: the unit that is up or down."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        return self._bracketed if self.port == _PORTS[self.scheme] else f"{self._bracketed}:{self.port}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def is_url(name: str) -> bool:
    """Return whether the name of an image is a web address rather than a file."""
    return name.startswith(("http://", "https://"))


def parse_url(url: str) -> Target:
    """Parse a URL.

    Raises:
        FetchRefused: another scheme, credentials, a port of another protocol, or not a URL. The message never
            repeats the URL.
    """
    if _CONTROLS.search(url):
        raise FetchRefused("the URL holds spaces, control characters or backslashes; percent-encode them")
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
        target = quote(parts.path or "/", safe=_SAFE)
        if parts.query:
            target += "?" + quote(parts.query, safe=_SAFE + "?[]")
    except ValueError as error:  # including lone surrogates
        raise FetchRefused("the URL is malformed: give http(s)://host/path") from error
    if scheme not in _PORTS:
        raise FetchRefused("the URL is neither http nor https")
    if "@" in parts.netloc:
        raise FetchRefused("the URL carries credentials; give a pre-signed URL instead")
    if port in _REFUSED_PORTS:
        raise FetchRefused("the URL names a port of another protocol; serve images on a port for HTTP")
    return Target(scheme, _checked_host(host, "[" in parts.netloc), port or _PORTS[scheme], target)


def _checked_host(host: str, bracketed: bool = False) -> str:
    try:
        if ":" in host or bracketed:
            return str(IPv6Address(host.partition("%")[0]))  # drop the zone: it names a local interface
        ascii_host = host if host.isascii() else host.encode("idna").decode("ascii")
    except ValueError as error:
        raise FetchRefused("the URL's host is no host name or address") from error
    if not _HOST.fullmatch(ascii_host):
        raise FetchRefused("the URL's host is no host name or address")
    return ascii_host.lower()


class AllowedHosts:
    """Hosts by name: `example.org` is that host alone, `*.example.org` all hosts below it.

    Args:
        patterns: the hosts.
        setting: name of the setting that lists them, for messages.

    Raises:
        SettingsError: a pattern is not a host name or address.
    """

    def __init__(self, patterns: Iterable[str], setting: str) -> None:
        self._setting = setting
        self._exact: set[str] = set()
        self._below: list[str] = []
        for pattern in patterns:
            try:
                name = _without_dot(_checked_host(pattern.removeprefix("*.")))
            except FetchRefused as error:
                raise SettingsError(
                    f"{setting}: {pattern!r} is no host; give names such as example.org or *.example.org, "
                    "without scheme, port or path"
                ) from error
            if pattern.startswith("*."):
                self._below.append(f".{name}")
            else:
                self._exact.add(name)

    @classmethod
    def from_setting(cls, patterns: Sequence[str], setting: str) -> Self | None:
        """Return the hosts of a setting, or None for all hosts if it is empty."""
        return cls(patterns, setting) if patterns else None

    def check(self, host: str) -> None:
        """Check the host of a `Target`.

        Raises:
            FetchRefused: the host is none of these.
        """
        name = _without_dot(host)
        if name not in self._exact and not name.endswith(tuple(self._below)):
            raise FetchRefused(f"{host} is not among the hosts of {self._setting}; add it there")


def _without_dot(host: str) -> str:
    return host.removesuffix(".")
