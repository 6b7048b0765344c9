"""Connections to Redis or Valkey by URL: plain, TLS, unix socket or Sentinel; also in Celery's form."""

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, unquote

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import ExponentialBackoff
from redis.connection import ConnectionPool, parse_url
from redis.sentinel import Sentinel

from moderator.errors import SettingsError
from moderator.queue.deadline import (
    RETRIES,
    RETRY_PAUSE_FIRST_SECONDS,
    RETRY_PAUSE_MAX_SECONDS,
    DeadlineRetry,
    TimedConnection,
    TimedSentinelConnection,
    TimedSSLConnection,
    TimedUnixConnection,
)

if TYPE_CHECKING:
    from moderator.settings import Settings

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
#: A synchronous redis-py client that answers in bytes. Its own annotations mix bytes, str and coroutines.
Redis: TypeAlias = Any
#: The same for an event loop.
AsyncRedis: TypeAlias = Any

#: Seconds of a whole call, retries included (a blocking command may block for its own time on top): for clients and
#: commands, and for the worker, which has no alternative. `deadline.within` sets shorter ones.
CLIENT_CALL, WORKER_CALL = 5.0, 15.0
_HOST_PORT = re.compile(r"(?:\[(?P<address>[^\[\]]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>\d*))?")

#: Threads and tasks limit connections; redis-py's limit of one hundred would raise an error for the next one.
CONNECTIONS_MAX = 1 << 16
#: Share of a call's time for one Sentinel: there are several, and some may be dead.
SENTINEL_SHARE = 1 / 8


@dataclass(frozen=True)
class Broker:
    """The same server in Celery's terms."""

    url: str
    transport_options: dict[str, Any] = field(default_factory=dict)
    use_ssl: dict[str, Any] | None = None


@dataclass(frozen=True)
class SentinelLogin:
    """The login of the Sentinels themselves; the servers that they name use the login of the URL."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: "Settings") -> "SentinelLogin":
        """Return the login of the settings."""
        password = settings.redis_sentinel_password
        return cls(settings.redis_sentinel_username, password.get_secret_value() if password else None)

    @property
    def options(self) -> dict[str, str]:
        """Return the login as options of redis-py."""
        both = {"username": self.username, "password": self.password}
        return {name: value for name, value in both.items() if value}


NO_LOGIN = SentinelLogin()


@dataclass(frozen=True)
class _SentinelAddress:
    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int
    username: str | None
    password: str | None


@dataclass(frozen=True)
class Endpoint:
    """The target of a URL, as far as it is known without connecting."""

    scheme: str
    """`redis`, `rediss`, `unix` or `sentinel`."""
    hosts: tuple[str, ...] = ()
    """None for a unix socket; several for Sentinel."""
    socket: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    verified: bool = False
    """Whether the connection uses TLS and checks the server's certificate against its name."""


def endpoint(url: str) -> Endpoint:
    """Parse a URL.

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


def connect(url: str, *, call: float = CLIENT_CALL, sentinels: SentinelLogin = NO_LOGIN) -> Redis:
    """Connect lazily with a thread-safe pool; commands are retried for about a second if a connection breaks.

    Args:
        url: `redis://`, `rediss://`, `unix://` as redis-py reads them, or
            `sentinel://[user:password@]host[:port],.../service[/db]`.
        call: most seconds for a command, whatever the server and the network do.
        sentinels: the login of the Sentinels.

    Raises:
        SettingsError: the URL cannot be read; or, at first use, the server is a Redis Cluster.
    """
    options: dict[str, Any] = {
        "socket_timeout": call,
        "socket_connect_timeout": call / 2,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry": DeadlineRetry(call),
        "max_connections": CONNECTIONS_MAX,
    }
    scheme = _scheme(url)
    if scheme == "sentinel":
        address = _parse_sentinel(url)
        login = {"username": address.username, "password": address.password, "db": address.db}
        sentinel: Any = Sentinel([])  # type: ignore[no-untyped-call]
        share = {**options, "retry": DeadlineRetry(call * SENTINEL_SHARE), **sentinels.options}
        sentinel.sentinels = [_sentinel(host, port, share) for host, port in address.hosts]
        return sentinel.master_for(
            address.service, connection_class=TimedSentinelConnection, **options, **login
        )
    if scheme == "unix":
        options.pop("socket_keepalive")
    kinds = {"rediss": TimedSSLConnection, "unix": TimedUnixConnection}
    try:
        return redis.Redis.from_url(url, connection_class=kinds.get(scheme, TimedConnection), **options)
    except ValueError as error:
        raise _unreadable(url, error) from error


def connect_async(url: str, *, call: float = CLIENT_CALL, sentinels: SentinelLogin = NO_LOGIN) -> AsyncRedis:
    """Connect as `connect` does, for an event loop. The executor limits the time of a whole call.

    Raises:
        SettingsError: the URL cannot be read.
    """
    options: dict[str, Any] = {
        "socket_timeout": call,
        "socket_connect_timeout": call / 2,
        "health_check_interval": 15,
        "retry": AsyncRetry(ExponentialBackoff(RETRY_PAUSE_MAX_SECONDS, RETRY_PAUSE_FIRST_SECONDS), RETRIES),
        "max_connections": CONNECTIONS_MAX,
    }
    if _scheme(url) == "sentinel":
        address = _parse_sentinel(url)
        login = {"username": address.username, "password": address.password, "db": address.db}
        sentinel: Any = AsyncSentinel(address.hosts, sentinel_kwargs={**options, **sentinels.options})  # type: ignore[no-untyped-call]
        return sentinel.master_for(address.service, **options, **login)
    try:
        return redis.asyncio.Redis.from_url(url, **options)
    except ValueError as error:
        raise _unreadable(url, error) from error


def _sentinel(host: str, port: int, options: dict[str, Any]) -> Redis:
    pool = ConnectionPool(TimedConnection, host=host, port=port, **options)
    return redis.Redis(connection_pool=pool)


def celery_broker(url: str, sentinels: SentinelLogin = NO_LOGIN) -> Broker:
    """Convert the URL for Celery's Redis transport, so that the worker uses the server of the ledger.

    Raises:
        SettingsError: the URL cannot be read.
    """
    scheme = _scheme(url)
    if scheme == "sentinel":
        address = _parse_sentinel(url)
        login = _login(address.username, address.password)
        hosts = ";".join(
            f"sentinel://{login}{_bracketed(host)}:{port}/{address.db}" for host, port in address.hosts
        )
        options: dict[str, Any] = {"master_name": address.service}
        if sentinels.options:
            options["sentinel_kwargs"] = sentinels.options
        return Broker(hosts, options)
    parts = _parse(url)
    login = _login(parts.get("username"), parts.get("password"))
    db = parts.get("db", 0)
    if scheme == "unix":
        return Broker(f"redis+socket://{login}{quote(parts.get('path', ''))}?virtual_host={db}")
    netloc = _bracketed(parts.get("host", "localhost"))
    tls = {"ssl_cert_reqs": "required", **{k: v for k, v in parts.items() if k.startswith("ssl_")}}
    return Broker(
        f"{scheme}://{login}{netloc}:{parts.get('port', DEFAULT_PORT)}/{db}",
        use_ssl=tls if scheme == "rediss" else None,
    )


def _bracketed(host: str) -> str:
    return f"[{host.replace('%', '%25')}]" if ":" in host else host  # % separates the interface


def _scheme(url: str) -> str:
    scheme, found, _ = url.partition("://")
    return scheme.lower() if found else ""


def _parse(url: str) -> dict[str, Any]:
    try:
        parts: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        return parts
    except ValueError as error:
        raise _unreadable(url, error) from error


def _unreadable(url: str, error: ValueError) -> SettingsError:
    # A password with a slash in it would be read as a port, and the library's message would repeat it.
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
    # Not `urlsplit`, which reads only one host: it refuses `[` anywhere but at the start.
    netloc, _, rest = url.partition("://")[2].partition("/")
    path = rest.strip("/").split("/")
    login, _, hosts = netloc.rpartition("@")
    user, _, password = login.partition(":")
    try:
        pairs = [_host_and_port(host) for host in hosts.split(",") if host]
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
            f"MODERATOR_REDIS_URL: {error}; write sentinel://host:port,host:port/service/db, and an IPv6 address "
            "in brackets"
        ) from error


def _host_and_port(text: str) -> tuple[str, int]:
    """Read `host`, `host:port`, `[address]` or `[address]:port`."""
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is no host")
    host = unquote(found["address"] or found["name"])
    if found["address"]:
        IPv6Address(host)
    return host, int(found["port"] or DEFAULT_SENTINEL_PORT)
