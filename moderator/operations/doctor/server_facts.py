"""What a Redis or Valkey server says of itself, and how it is asked."""

import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import redis
from redis.exceptions import RedisError

from moderator.queue import keys
from moderator.queue.connection import NO_LOGIN, Endpoint, Redis, SentinelLogin, connect, endpoint


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself."""

    endpoint: Endpoint
    near: bool
    """Whether it is reached over loopback or a unix socket, so that no network is in between."""
    open: bool
    """Whether it also answers without a password."""
    info: Mapping[str, Any]
    config: Mapping[str, str] | None
    """Some of its settings; None where our user may not ask for them."""
    user: str | None = None
    unlimited: bool = False
    """Whether our user is known to be allowed everything."""
    ahead: float = 0.0
    """Seconds that its clock is before ours."""

    @property
    def version(self) -> tuple[int, ...]:
        """The version of Redis, or the one that Valkey is compatible with."""
        return tuple(map(int, re.findall(r"\d+", str(self.info.get("redis_version", "0")))[:3]))


def look(url: str, sentinels: SentinelLogin = NO_LOGIN) -> ServerFacts:
    """Connect to a server and return what it says of itself.

    Raises:
        RedisError: it does not answer.
        SettingsError: the URL cannot be read, or the server is a Redis Cluster.
    """
    where = endpoint(url)
    client = connect(url, sentinels=sentinels)
    try:
        before = time.time()
        seconds, micros = client.time()
        ahead = seconds + micros / 1e6 - (before + time.time()) / 2
        user = _allowed(client.acl_whoami)
        rights = _allowed(client.acl_getuser, user) if user is not None else None
        return ServerFacts(
            endpoint=where,
            near=is_near(where),
            open=where.password is None or _opens_without_login(client),
            info=client.info(),
            config=_allowed(client.config_get, "bind", "protected-mode", "appendfsync"),
            user=_text(user) if user is not None else None,
            unlimited=rights is not None and rights["categories"] == ["+@all"] and not rights["commands"],
            ahead=ahead,
        )
    finally:
        client.close()


def is_near(where: Endpoint) -> bool:
    """Return whether a server is on this machine: all addresses of all its hosts are loopback."""
    for host in where.hosts:
        try:
            found = {str(address[0]) for *_, address in socket.getaddrinfo(host, None)}
        except OSError:
            return False
        if not all(is_loopback(address) for address in found):
            return False
    return True


def is_loopback(address: str) -> bool:
    """Return whether an address, or a name in Redis' `bind`, means this machine alone."""
    try:
        return ip_address(address.removeprefix("-").partition("%")[0]).is_loopback
    except ValueError:
        return address.removeprefix("-") == "localhost"


def _allowed(ask: Any, *arguments: Any) -> Any:
    """Return the answer, or None where the user may not ask or the server has no such command."""
    try:
        answer = ask(*arguments)
    except redis.ResponseError:
        return None
    if isinstance(answer, dict):
        return {_text(k): _text(v) if isinstance(v, bytes) else v for k, v in answer.items()}
    return answer


def _opens_without_login(client: Redis) -> bool:
    """Return whether events can be read on a connection without user and password."""
    connection = client.connection_pool.make_connection()
    connection.username = connection.password = connection.credential_provider = None
    try:
        connection.connect()
        connection.send_command("EXISTS", keys.PENDING)
        connection.read_response()
        return True
    except RedisError:
        return False
    finally:
        connection.disconnect()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
