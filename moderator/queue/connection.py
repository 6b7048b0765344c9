"""Connections to Redis or Valkey by URL: plain, TLS, unix socket, Sentinel. Also as Celery wants to hear it."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote, unquote, urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.connection import parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel

from moderator.errors import SettingsError

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
#: A redis-py client, synchronous and answering in bytes. Its own annotations mix bytes, str and coroutines.
Redis: TypeAlias = Any

#: Seconds. Longer than any blocking command that we send, so a dead server is noticed.
SOCKET_TIMEOUT = 15.0


@dataclass(frozen=True)
class Broker:
    """The same server in Celery's terms."""

    url: str
    transport_options: dict[str, Any] = field(default_factory=dict)
    use_ssl: dict[str, Any] | None = None


@dataclass(frozen=True)
class _SentinelAddress:
    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int
    username: str | None
    password: str | None


@dataclass(frozen=True)
class Endpoint:
    """Where a URL leads and how: what can be said of it without connecting."""

    scheme: str
    """`redis`, `rediss`, `unix` or `sentinel`."""
    hosts: tuple[str, ...] = ()
    """None for a unix socket; several for Sentinel."""
    socket: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    verified: bool = False
    """Whether TLS is used and the server's certificate is checked against its name."""


def endpoint(url: str) -> Endpoint:
    """Take a URL apart.

    Raises:
        SettingsError: the URL cannot be read.
    """
    scheme = _scheme(url)
    if scheme == "sentinel":
        address = _parse_sentinel(url)
        hosts = tuple(host for host, _ in address.hosts)
        return Endpoint(scheme, hosts, None, address.username, address.password)
    parts = _parse(url)
    user, password = parts.get("username"), parts.get("password") or None
    if scheme == "unix":
        return Endpoint(scheme, (), parts.get("path", ""), user, password)
    checks = (parts.get("ssl_cert_reqs", "required"), parts.get("ssl_check_hostname", True))
    verified = scheme == "rediss" and checks == ("required", True)
    return Endpoint(scheme, (parts.get("host", "localhost"),), None, user, password, verified)


def connect(url: str) -> Redis:
    """Connect (lazily, with a thread-safe pool); commands are tried again for about a second when a connection breaks.

    Args:
        url: `redis://`, `rediss://`, `unix://` as redis-py reads them, or
            `sentinel://[user:password@]host[:port],.../service[/db]`.

    Raises:
        SettingsError: the URL cannot be read.
    """
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 4),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
    }
    scheme = _scheme(url)
    if scheme == "sentinel":
        address = _parse_sentinel(url)
        login = {"username": address.username, "password": address.password, "db": address.db}
        sentinel: Any = Sentinel(list(address.hosts), socket_timeout=2.0)  # type: ignore[no-untyped-call]
        return sentinel.master_for(address.service, **options, **login)
    if scheme == "unix":
        options.pop("socket_keepalive")
    try:
        return redis.Redis.from_url(url, **options)
    except ValueError as error:
        raise _unreadable(url, error) from error


def celery_broker(url: str) -> Broker:
    """Say the URL as Celery's Redis transport reads it, so that the worker is where the ledger is.

    Raises:
        SettingsError: the URL cannot be read.
    """
    scheme = _scheme(url)
    if scheme == "sentinel":
        address = _parse_sentinel(url)
        login = _login(address.username, address.password)
        hosts = ";".join(f"sentinel://{login}{host}:{port}/{address.db}" for host, port in address.hosts)
        return Broker(hosts, {"master_name": address.service})
    parts = _parse(url)
    login = _login(parts.get("username"), parts.get("password"))
    db = parts.get("db", 0)
    if scheme == "unix":
        return Broker(f"redis+socket://{login}{quote(parts.get('path', ''))}?virtual_host={db}")
    host = parts.get("host", "localhost")
    netloc = f"[{host}]" if ":" in host else host
    tls = {"ssl_cert_reqs": "required", **{k: v for k, v in parts.items() if k.startswith("ssl_")}}
    return Broker(
        f"{scheme}://{login}{netloc}:{parts.get('port', DEFAULT_PORT)}/{db}",
        use_ssl=tls if scheme == "rediss" else None,
    )


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError as error:
        raise SettingsError(f"MODERATOR_REDIS_URL: {error}") from error


def _parse(url: str) -> dict[str, Any]:
    try:
        parts: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        return parts
    except ValueError as error:
        raise _unreadable(url, error) from error


def _unreadable(url: str, error: ValueError) -> SettingsError:
    # A password with a slash in it is taken for a port, which the library's message would repeat.
    reason = (
        str(error)
        if "@" not in url
        else (
            "cannot be read; it is redis://, rediss:// or unix://, and in a password each of : / ? # @ % is written as "
            "%3A %2F %3F %23 %40 %25"
        )
    )
    return SettingsError(f"MODERATOR_REDIS_URL: {reason}")


def _login(username: str | None, password: str | None) -> str:
    if not (username or password):
        return ""
    return f"{quote(username or '', safe='')}:{quote(password or '', safe='')}@"


def _parse_sentinel(url: str) -> _SentinelAddress:
    parts = urlsplit(url)
    path = parts.path.strip("/").split("/")
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    try:
        pairs = []
        for host in filter(None, hosts.split(",")):
            name, _, port = host.partition(":")
            pairs.append((name, int(port or DEFAULT_SENTINEL_PORT)))
        if not pairs or not path[0]:
            raise ValueError("hosts and service name are needed")
        return _SentinelAddress(
            hosts=tuple(pairs),
            service=path[0],
            db=int(path[1]) if len(path) > 1 else 0,
            username=unquote(user) or None,
            password=unquote(password) or None,
        )
    except ValueError as error:
        raise SettingsError(
            f"MODERATOR_REDIS_URL: {error}; write sentinel://host:port,host:port/service/db"
        ) from error
