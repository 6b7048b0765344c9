"""Query a Redis or Valkey server for facts about itself."""

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
    """Facts that a server reports about itself."""

    endpoint: Endpoint
    near: bool
    """Whether the server is reached over loopback or a unix socket, without a network in between."""
    open: bool
    """Whether the server also answers without a password."""
    info: Mapping[str, Any]
    config: Mapping[str, str] | None
    """Some of its settings; None if our user may not read them."""
    user: str | None = None
    unlimited: bool = False
    """Whether our user is known to have all rights."""
    ahead: float = 0.0
    """Seconds by which its clock is ahead of ours."""

    @property
    def version(self) -> tuple[int, ...]:
        """The version of Redis, or the one that Valkey is compatible with."""
        return tuple(map(int, re.findall(r"\d+", str(self.info.get("redis_version", "0")))[:3]))


def look(url: str, sentinels: SentinelLogin = NO_LOGIN) -> ServerFacts:
    """Connect to a server and return the facts that it reports about itself.

    Raises:
        RedisError: the server does not answer.
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
    """Return whether a server is on this machine: all addresses of its hosts are loopback."""
    for host in where.hosts:
        try:
            found = {str(address[0]) for *_, address in socket.getaddrinfo(host, None)}
        except OSError:
            return False
        if not all(is_loopback(address) for address in found):
            return False
    return True


def is_loopback(address: str) -> bool:
    """Return whether an address, or a name in Redis' `bind`, refers only to this machine."""
    try:
        return ip_address(address.removeprefix("-").partition("%")[0]).is_loopback
    except ValueError:
        return address.removeprefix("-") == "localhost"


def _allowed(ask: Any, *arguments: Any) -> Any:
    """Return the answer, or None if the user lacks the right or the server has no such command."""
    try:
        answer = ask(*arguments)
    except redis.ResponseError:
        return None
    if isinstance(answer, dict):
        return {_text(k): _text(v) if isinstance(v, bytes) else v for k, v in answer.items()}
    return answer


def _opens_without_login(client: Redis) -> bool:
    """Return whether a connection without user and password can read events."""
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
