"""The checks of what a server says of itself; the asking is tested against real servers."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from moderator.operations.doctor.findings import Finding, Level
from moderator.operations.doctor.server_checks import (
    check_clock,
    check_durability,
    check_eviction,
    check_login,
    check_password,
    check_rights,
    check_tls,
    check_version,
    takes_strangers,
)
from moderator.operations.doctor.server_facts import ServerFacts, is_loopback, is_near
from moderator.queue.connection import Endpoint, endpoint

GOOD = ServerFacts(
    endpoint=Endpoint("redis", ("127.0.0.1",), password="a password that nobody guesses"),
    near=True,
    open=False,
    info={
        "redis_version": "7.2.4",
        "role": "master",
        "maxmemory": 1000,
        "used_memory": 100,
        "maxmemory_policy": "noeviction",
        "aof_enabled": 1,
        "aof_last_write_status": "ok",
    },
    config={"bind": "127.0.0.1 -::1", "protected-mode": "yes", "appendfsync": "everysec"},
    user="moderator",
)
CHECKS = (
    check_version,
    check_login,
    check_password,
    check_tls,
    check_rights,
    check_eviction,
    check_durability,
    check_clock,
)


def with_info(**changes: object) -> ServerFacts:
    return replace(GOOD, info={**GOOD.info, **changes})


def with_config(**changes: str) -> ServerFacts:
    return replace(
        GOOD, config={**(GOOD.config or {}), **{k.replace("_", "-"): v for k, v in changes.items()}}
    )


def with_url(url: str, near: bool) -> ServerFacts:
    return replace(GOOD, endpoint=endpoint(url), near=near)


def assert_explains(finding: Finding, level: Level, *words: str) -> None:
    assert finding.level is level, finding
    assert all(word in finding.message for word in words), finding
    assert bool(finding.remedy) == (level is not Level.OK), finding


def test_a_good_server_has_no_fault() -> None:
    assert [finding for check in CHECKS if (finding := check(GOOD)).level is not Level.OK] == []


@pytest.mark.parametrize(
    ("facts", "level", "word"),
    [
        (with_info(redis_version="6.0.16"), Level.PROBLEM, "older than 6.2"),
        (with_info(redis_version="6.2.0"), Level.OK, "Redis 6.2.0"),
        (with_info(valkey_version="9.1.2"), Level.OK, "Valkey 9.1.2"),
        (with_info(role="slave"), Level.PROBLEM, "replica"),
    ],
)
def test_versions_and_roles(facts: ServerFacts, level: Level, word: str) -> None:
    assert_explains(check_version(facts), level, word)


@pytest.mark.parametrize(
    ("bind", "protected", "version", "level"),
    [
        ("127.0.0.1 -::1", "yes", "7.2.4", Level.WARNING),
        ("127.0.0.1 -::1", "no", "7.2.4", Level.WARNING),
        ("* -::*", "yes", "7.2.4", Level.WARNING),
        ("* -::*", "no", "7.2.4", Level.PROBLEM),
        ("127.0.0.1 10.0.0.5", "no", "7.2.4", Level.PROBLEM),
        ("10.0.0.5", "yes", "6.2.1", Level.PROBLEM),
        ("", "yes", "6.2.1", Level.WARNING),
        ("", "no", "6.2.1", Level.PROBLEM),
    ],
)
def test_an_open_server(bind: str, protected: str, version: str, level: Level) -> None:
    facts = replace(with_config(bind=bind, protected_mode=protected), open=True)
    facts = replace(facts, info={**facts.info, "redis_version": version})
    assert takes_strangers(facts) is (level is Level.PROBLEM)
    assert_explains(check_login(facts), level, "password")


def test_an_open_server_across_a_network_is_a_problem_whatever_it_says() -> None:
    assert_explains(check_login(replace(GOOD, open=True, near=False)), Level.PROBLEM, "network")
    assert_explains(check_login(replace(GOOD, open=True, config=None)), Level.WARNING, "CONFIG")


@pytest.mark.parametrize(("mode", "level"), [(0o770, Level.OK), (0o777, Level.WARNING)])
def test_a_socket_is_guarded_by_its_mode(tmp_path: Path, mode: int, level: Level) -> None:
    path = tmp_path / "redis.sock"
    path.touch()
    path.chmod(mode)
    facts = replace(GOOD, open=True, endpoint=endpoint(f"unix://{path}?db=0"))
    assert_explains(check_login(facts), level, "socket")


@pytest.mark.parametrize(
    ("password", "level"),
    [
        (None, Level.OK),
        ("redis", Level.PROBLEM),
        ("ChangeMe", Level.PROBLEM),
        ("shop-queue", Level.PROBLEM),  # the user's name
        ("a1b2c3d4e5", Level.WARNING),
        ("f3Zq9-ncZ2Lk8_wYt5", Level.OK),
    ],
)
def test_passwords_are_weighed_and_never_told(password: str | None, level: Level) -> None:
    where = Endpoint("redis", ("127.0.0.1",), username="shop-queue", password=password)
    finding = check_password(replace(GOOD, endpoint=where))
    assert finding.level is level
    if password and password != "redis":
        assert password not in finding.message + finding.remedy


@pytest.mark.parametrize(
    ("url", "near", "level"),
    [
        ("redis://localhost/0", True, Level.OK),
        ("unix:///run/redis.sock", True, Level.OK),
        ("redis://db.example.org/0", False, Level.WARNING),
        ("sentinel://a.example.org,b.example.org/main", False, Level.WARNING),
        ("rediss://db.example.org/0", False, Level.OK),
        ("rediss://db.example.org/0?ssl_cert_reqs=none", False, Level.PROBLEM),
        ("rediss://db.example.org/0?ssl_check_hostname=false", False, Level.PROBLEM),
        ("rediss://localhost/0?ssl_cert_reqs=none", True, Level.OK),
    ],
)
def test_what_leaves_the_machine_is_to_be_encrypted(url: str, near: bool, level: Level) -> None:
    assert check_tls(with_url(url, near)).level is level


def test_a_user_that_may_do_everything_is_told_where_others_reach_the_server() -> None:
    assert_explains(check_rights(replace(GOOD, unlimited=True, near=False)), Level.WARNING, "moderator")
    assert check_rights(replace(GOOD, unlimited=True)).level is Level.OK


@pytest.mark.parametrize(
    ("facts", "level", "word"),
    [
        (with_info(maxmemory_policy="allkeys-lru"), Level.PROBLEM, "accepted events are thrown away"),
        (with_info(maxmemory_policy="allkeys-lru", maxmemory=0), Level.WARNING, "thrown away"),
        (with_info(maxmemory_policy="volatile-ttl"), Level.WARNING, "verdicts are thrown away"),
        (with_info(maxmemory=0), Level.WARNING, "maxmemory is not set"),
        (with_info(used_memory=900), Level.WARNING, "90%"),
    ],
)
def test_eviction(facts: ServerFacts, level: Level, word: str) -> None:
    assert_explains(check_eviction(facts), level, word)


@pytest.mark.parametrize(
    ("facts", "level", "word"),
    [
        (with_info(aof_enabled=0), Level.PROBLEM, "since its last snapshot"),
        (with_info(aof_last_write_status="err"), Level.PROBLEM, "not on disk"),
        (with_config(appendfsync="no"), Level.WARNING, "power failure"),
        (with_config(appendfsync="everysec"), Level.OK, "last second"),
        (with_config(appendfsync="always"), Level.OK, "no accepted event"),
        (replace(GOOD, config=None), Level.OK, "written to disk"),
    ],
)
def test_durability(facts: ServerFacts, level: Level, word: str) -> None:
    assert_explains(check_durability(facts), level, word)


@pytest.mark.parametrize(
    ("ahead", "level"),
    [(0.2, Level.OK), (-3, Level.WARNING), (3, Level.WARNING), (61, Level.PROBLEM), (-61, Level.PROBLEM)],
)
def test_clocks(ahead: float, level: Level) -> None:
    assert_explains(check_clock(replace(GOOD, ahead=ahead)), level, f"{abs(ahead):.1f} s")


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("-::1", True),
        ("localhost", True),
        ("*", False),
        ("-::*", False),
        ("0.0.0.0", False),
        ("10.0.0.5", False),
        ("::ffff:10.0.0.5", False),
        ("", False),
    ],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


def test_near_is_what_resolves_to_loopback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"here": ["127.0.0.1", "::1"], "both": ["127.0.0.1", "10.0.0.5"]}

    def resolve(host: str, port: None) -> list[tuple[object, ...]]:
        if host not in known:
            raise OSError("no such name")
        return [(0, 0, 0, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert is_near(Endpoint("redis", ("here",)))
    assert is_near(Endpoint("unix"))
    assert not is_near(Endpoint("redis", ("both",)))
    assert not is_near(Endpoint("redis", ("elsewhere",)))
    assert not is_near(Endpoint("sentinel", ("here", "both")))
