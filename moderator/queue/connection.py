"""Connections to Redis or Valkey by URL: plain, TLS, unix socket, Sentinel. Also as Celery wants to hear it."""

import ssl
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import Sentinel

from moderator.errors import SettingsError

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
    if urlsplit(url).scheme == "sentinel":
        address = _parse_sentinel(url)
        login = {"username": address.username, "password": address.password, "db": address.db}
        sentinel: Any = Sentinel(list(address.hosts), socket_timeout=2.0)  # type: ignore[no-untyped-call]
        return sentinel.master_for(address.service, **options, **login)
    if urlsplit(url).scheme == "unix":
        options.pop("socket_keepalive")
    try:
        return redis.Redis.from_url(url, **options)
    except ValueError as error:
        raise SettingsError(f"MODERATOR_REDIS_URL: {error}") from error


def celery_broker(url: str) -> Broker:
    """Say the URL as Celery's Redis transport reads it."""
    parts = urlsplit(url)
    match parts.scheme:
        case "sentinel":
            address = _parse_sentinel(url)
            login = ""
            if address.password:
                login = f"{address.username or ''}:{address.password}@"
            hosts = ";".join(f"sentinel://{login}{host}:{port}/{address.db}" for host, port in address.hosts)
            return Broker(hosts, {"master_name": address.service})
        case "unix":
            db = parse_qs(parts.query).get("db", ["0"])[0]
            return Broker(f"redis+socket://{parts.path}?virtual_host={db}")
        case "rediss":
            required = parse_qs(parts.query).get("ssl_cert_reqs", ["required"])[0] != "none"
            mode = ssl.CERT_REQUIRED if required else ssl.CERT_NONE
            return Broker(url, use_ssl={"ssl_cert_reqs": mode})
        case _:
            return Broker(url)


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
