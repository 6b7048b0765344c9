"""Check Redis or Valkey: who can connect, what a crash loses, whether its clock is right. The checks are pure."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from moderator.errors import SettingsError
from moderator.operations.doctor.findings import Finding, ok, problem, warning
from moderator.operations.doctor.server_facts import ServerFacts, is_loopback, look
from moderator.queue.connection import NO_LOGIN, SentinelLogin
from moderator.queue.deadline import within

#: Minimum version of Redis; for Valkey, of the Redis that it is compatible with.
VERSION_MIN = (6, 2)
#: Passwords from examples and compose files, in lower case.
USUAL_PASSWORDS = frozenset(
    {
        *("123456", "12345678", "admin", "changeit", "changeme", "default", "example", "foobared", "letmein"),
        *("moderator", "passw0rd", "password", "redis", "redispassword", "root", "secret", "test", "valkey"),
    }
)
PASSWORD_LENGTH_MIN = 16
#: Deadline for all of the server's answers together.
REDIS_TIMEOUT_SECONDS = 3.0
#: Difference between the clocks from which a finding is reported.
CLOCK_WARNING_SECONDS, CLOCK_PROBLEM_SECONDS = 1.0, 60.0
#: Share of `maxmemory` in use from which a warning is reported.
MEMORY_WARNING_SHARE = 0.8
#: Rights that our user needs, for `ACL SETUSER`.
RIGHTS = "+@all -@admin -@dangerous +info +config|get ~moderation* ~_kombu* ~unacked* &*"


def examine_server(url: str, sentinels: SentinelLogin = NO_LOGIN) -> Iterator[Finding]:
    """Yield findings on the server behind a URL."""
    try:
        with within(REDIS_TIMEOUT_SECONDS):
            facts = look(url, sentinels)
    except SettingsError as error:
        remedy = "set MODERATOR_REDIS_URL to a server that can be used, as the message says"
        yield problem("redis.reachable", str(error), remedy)
        return
    except AuthenticationError:
        remedy = "put the user and the password into MODERATOR_REDIS_URL: redis://user:password@host:port/db"
        yield problem("redis.reachable", "Redis refuses the login, or asks for one", remedy)
        return
    except RedisTimeoutError as error:
        message = f"Redis hangs, or the network drops what is sent ({error}); nothing can be accepted"
        remedy = (
            "see whether the server is stopped or its disk stands still, and whether a firewall is on the way"
        )
        yield problem("redis.reachable", message, remedy)
        return
    except RedisError as error:
        remedy = "start it, or set MODERATOR_REDIS_URL to where it is"
        yield problem("redis.reachable", f"Redis does not answer ({error}); nothing can be accepted", remedy)
        return
    yield check_version(facts)
    yield check_login(facts)
    yield check_password(facts)
    yield check_tls(facts)
    yield check_rights(facts)
    yield check_eviction(facts)
    yield check_durability(facts)
    yield check_clock(facts)


def takes_strangers(facts: ServerFacts) -> bool:
    """Return whether a server without a password accepts connections from other machines."""
    assert facts.config is not None
    bind = facts.config.get("bind", "").split()
    # Before version 7, an address in `bind` switched protected mode off.
    protected = facts.config.get("protected-mode") == "yes" and (facts.version >= (7,) or not bind)
    return not protected and (not bind or not all(map(is_loopback, bind)))


def check_version(facts: ServerFacts) -> Finding:
    """Check that the server is new enough and not a replica."""
    name = "Valkey" if "valkey_version" in facts.info else "Redis"
    version = facts.info.get("valkey_version") or facts.info.get("redis_version")
    if facts.version < VERSION_MIN:
        message = f"{name} {version} answers; it is older than 6.2, whose commands are needed"
        return problem("redis.reachable", message, "install Redis 6.2 or newer, or Valkey")
    if facts.info.get("role") == "slave":
        message = f"{name} {version} answers; it is a replica, which takes no writes"
        return problem(
            "redis.reachable", message, "name the primary in MODERATOR_REDIS_URL, or use sentinel://"
        )
    return ok("redis.reachable", f"{name} {version} answers")


def check_login(facts: ServerFacts) -> Finding:
    """Check who can connect without a password."""
    check, gain = "redis.access", "may read every image, forge verdicts and drop events"
    remedy = (
        "set a password (`requirepass`, or users in an ACL file) and put it into MODERATOR_REDIS_URL; let it listen "
        "where only workers and producers are (`bind`)"
    )
    if not facts.open:
        return ok(check, "nobody gets in without a password")
    if facts.endpoint.socket is not None:
        return _check_socket(facts.endpoint.socket)
    if not facts.near:
        return problem(
            check, f"Redis asks for no password: whoever reaches its port over the network {gain}", remedy
        )
    if facts.config is None:
        message = "Redis asks for no password, and does not say (CONFIG) whether other machines reach it"
        return warning(check, message, remedy)
    if takes_strangers(facts):
        bind = facts.config.get("bind") or "all addresses"
        message = f"Redis listens on {bind} and asks for no password: whoever reaches the port {gain}"
        return problem(check, message, remedy)
    return warning(check, f"Redis asks for no password: every program on this machine {gain}", remedy)


def _check_socket(path: str) -> Finding:
    with suppress(OSError):
        if os.stat(path).st_mode & stat.S_IWOTH:
            message = "Redis asks for no password, and its socket may be opened by every user of this machine"
            return warning("redis.access", message, "set `unixsocketperm 770` and a group, or a password")
    return ok("redis.access", "Redis is reached by a socket that its owner and group may open")


def check_password(facts: ServerFacts) -> Finding:
    """Check that the password is hard to guess. It is never shown."""
    password = facts.endpoint.password
    remedy = "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
    if password is None:
        return ok("redis.password", "there is none to guess")
    if password.lower() in USUAL_PASSWORDS or password == facts.endpoint.username:
        message = "the password of Redis is one that examples ship: it is the first that is tried"
        return problem("redis.password", message, remedy)
    if len(password) < PASSWORD_LENGTH_MIN:
        message = f"the password of Redis has fewer than {PASSWORD_LENGTH_MIN} characters; Redis lets one guess quickly"
        return warning("redis.password", message, remedy)
    return ok(
        "redis.password", f"the password has at least {PASSWORD_LENGTH_MIN} characters and is no usual one"
    )


def check_tls(facts: ServerFacts) -> Finding:
    """Check that nobody on the network can read or change the traffic."""
    where = facts.endpoint
    if where.verified:
        return ok("redis.tls", "connections are encrypted, and the server proves its name")
    if facts.near:
        return ok("redis.tls", "connections do not leave this machine")
    if where.scheme == "rediss":
        message = "the server's certificate is not checked, so anybody in between can be the server"
        remedy = "remove ssl_cert_reqs and ssl_check_hostname from the URL; name a private CA by ssl_ca_certs"
        return problem("redis.tls", message, remedy)
    message = "images, verdicts and the password go over the network unencrypted"
    remedy = "use rediss://, unless the network between is yours alone (a container network, a VPN)"
    return warning("redis.tls", message, remedy)


def check_rights(facts: ServerFacts) -> Finding:
    """Check what an attacker could do with our login."""
    if not facts.unlimited or facts.near:
        return ok("redis.rights", f"the user is '{facts.user or 'default'}'")
    message = f"the user '{facts.user}' may do everything: its password also reconfigures the server"
    return warning(
        "redis.rights", message, f"make a user of our own: ACL SETUSER moderator on >PASSWORD {RIGHTS}"
    )


def check_eviction(facts: ServerFacts) -> Finding:
    """Check that a full server refuses new events and does not evict accepted ones."""
    check = "redis.eviction"
    policy, limit = str(facts.info.get("maxmemory_policy", "")), int(facts.info.get("maxmemory", 0))
    used = int(facts.info.get("used_memory", 0))
    remedy = "set `maxmemory-policy noeviction`: then new events are refused instead, and their senders know"
    if policy.startswith("allkeys"):
        message = f"maxmemory-policy is {policy}: accepted events are thrown away when the memory is full"
        return (problem if limit else warning)(check, message, remedy)
    if policy.startswith("volatile"):
        message = f"maxmemory-policy is {policy}: verdicts are thrown away when the memory is full, before their time"
        return warning(check, message, remedy)
    if not limit:
        message = "maxmemory is not set: the system may kill Redis when the machine's memory is full"
        return warning(check, message, "set maxmemory to at most half of the memory that Redis may have")
    if used > MEMORY_WARNING_SHARE * limit:
        message = f"{used / limit:.0%} of maxmemory are used; beyond it, events are refused"
        return warning(check, message, "raise maxmemory, or lower MODERATOR_QUEUE_BYTES")
    return ok(check, f"nothing is evicted; {used / limit:.0%} of maxmemory are used")


def check_durability(facts: ServerFacts) -> Finding:
    """Check which accepted events a crash would lose."""
    check = "redis.durability"
    if not facts.info.get("aof_enabled"):
        message = (
            "appendonly is off: when Redis restarts, the events accepted since its last snapshot are gone"
        )
        return problem(check, message, "set `appendonly yes`, on a disk that outlives the server")
    if facts.info.get("aof_last_write_status", "ok") != "ok":
        message = "Redis cannot write its append-only file, so accepted events are not on disk"
        return problem(check, message, "look at Redis' log; is the disk full?")
    fsync = (facts.config or {}).get("appendfsync")
    if fsync == "no":
        message = "appendfsync is 'no': a power failure loses what was accepted in the last half minute or so"
        return warning(check, message, "set `appendfsync everysec`, or `always`")
    lost = {
        "always": "even a power failure loses no accepted event",
        "everysec": "a crash of Redis loses no accepted event, a power failure at most the last second's",
    }
    return ok(check, lost.get(str(fsync), "accepted events are written to disk"))


def check_clock(facts: ServerFacts) -> Finding:
    """Check that both clocks agree."""
    apart = abs(facts.ahead)
    message = f"this machine's clock and that of Redis are {apart:.1f} s apart"
    remedy = "run a time service (chrony, systemd-timesyncd) on both machines"
    if apart > CLOCK_PROBLEM_SECONDS:
        why = "receivers refuse webhooks whose signature is minutes off"
        return problem(
            "redis.clock", f"{message}: {why}, and times in metrics and verdicts are wrong", remedy
        )
    if apart > CLOCK_WARNING_SECONDS:
        return warning("redis.clock", f"{message}: times in metrics and verdicts are wrong", remedy)
    return ok("redis.clock", message)
