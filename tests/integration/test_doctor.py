"""`moderator doctor` against real servers: open, with a usual password, evicting, and as they should be."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moderator.operations.doctor.server_checks import RIGHTS
from moderator.operations.doctor.server_facts import look
from moderator.queue.connection import connect
from moderator.queue.embedded_server import EmbeddedServer
from tests.support.service import SECRET, copy_policies, run_cli
from tests.support.tools import needs

ROOT = Path(__file__).parents[2]
PASSWORD = "kHf83nNsA-29fsd_Jsl20dkfLs"


def rows(folder: Path, url: str, *arguments: str, **settings: str) -> tuple[int, dict[str, str], str]:
    """Exit code, level of each check, and everything that was printed."""
    settings = {"policies": str(folder / "policies"), "cache": str(folder / "cache"), **settings}
    done = run_cli("doctor", "--json", *arguments, cwd=folder, redis_url=url, **settings)
    assert "Traceback" not in done.stderr, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {row["check"]: row["level"] for row in found}, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_policies(tmp_path / "policies")
    return tmp_path


@contextmanager
def configured(server: EmbeddedServer, **options: str) -> Iterator[None]:
    with connect(server.url) as redis:
        for name, value in options.items():
            redis.config_set(name.replace("_", "-"), value)
    yield


def test_a_server_that_is_open_to_this_machine(folder: Path, server: EmbeddedServer) -> None:
    code, levels, _ = rows(folder, server.url)
    assert levels["redis.access"] == "warning"
    assert levels["redis.durability"] == levels["redis.clock"] == levels["policies.load"] == "ok"
    assert code == 0
    assert rows(folder, server.url, "--strict")[0] == 1


#: A server that listens on all addresses of a network which has none but loopback, and what the doctor says of it.
OPEN = """
import fcntl, json, socket, struct, sys
from pathlib import Path
from moderator.queue.connection import connect
from moderator.queue.embedded_server import EmbeddedServer
from tests.integration.test_doctor import rows

with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x49))  # SIOCSIFFLAGS: up, loopback, running
folder = Path(sys.argv[1])
with EmbeddedServer(folder / "server") as server:
    with connect(server.url) as redis:
        redis.config_set("protected-mode", "no")
        redis.config_set("bind", "* -::*")
    print(json.dumps(rows(folder, server.url)))
"""


def test_a_server_that_is_open_to_everybody(folder: Path) -> None:
    trial = [needs("unshare", package="util-linux"), "--net", "true"]
    if subprocess.run(trial, capture_output=True).returncode:
        pytest.skip("needs a network of its own (unshare --net): no test listens where others can connect")
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", OPEN, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    code, levels, output = json.loads(done.stdout)
    assert (code, levels["redis.access"]) == (1, "problem")
    assert "listens on * -::*" in output


def test_a_usual_password(folder: Path, server: EmbeddedServer) -> None:
    with configured(server, requirepass="changeme"):
        code, levels, output = rows(folder, server.url.replace("://", "://:changeme@"))
    assert (code, levels["redis.password"], levels["redis.access"]) == (1, "problem", "ok")
    assert "changeme" not in output


def test_a_server_that_loses_events(folder: Path, server: EmbeddedServer) -> None:
    with configured(server, maxmemory="200mb", maxmemory_policy="allkeys-lru", appendonly="no"):
        code, levels, _ = rows(folder, server.url)
    assert (code, levels["redis.eviction"], levels["redis.durability"]) == (1, "problem", "problem")


def test_a_password_that_is_missing_or_wrong(folder: Path, server: EmbeddedServer) -> None:
    with configured(server, requirepass=PASSWORD):
        for url in (server.url, server.url.replace("://", "://:wrong-password@")):
            code, levels, output = rows(folder, url)
            assert (code, levels["redis.reachable"]) == (1, "problem")
            assert "refuses the login" in output
            assert "wrong-password" not in output


def test_a_login_that_nobody_needs(folder: Path, server: EmbeddedServer) -> None:
    """A user of our own with a strong password is worth nothing while the default user needs none."""
    with connect(server.url) as redis:
        redis.execute_command("ACL", "SETUSER", "moderator", "on", f">{PASSWORD}", *RIGHTS.split())
    _, levels, _ = rows(folder, server.url.replace("://", f"://moderator:{PASSWORD}@"))
    assert (levels["redis.access"], levels["redis.password"]) == ("warning", "ok")


def test_a_good_server_and_no_secret_in_the_output(folder: Path, server: EmbeddedServer) -> None:
    with connect(server.url) as redis:
        redis.execute_command("ACL", "SETUSER", "moderator", "on", f">{PASSWORD}", *RIGHTS.split())
        redis.config_set("maxmemory", "200mb")
        redis.config_set("requirepass", "another-" + PASSWORD)
    url = server.url.replace("://", f"://moderator:{PASSWORD}@")
    code, levels, output = rows(folder, url, webhook_secret=SECRET)
    wrong = {check for check, level in levels.items() if level != "ok"}
    assert wrong <= {"policies.encoder", "environment.user"}, output
    assert code == 0
    assert PASSWORD not in output
    assert SECRET.removeprefix("whsec_") not in output
    facts = look(url)
    assert (facts.user, facts.unlimited, facts.open, facts.near) == ("moderator", False, False, True)


def test_a_user_that_may_do_everything_is_seen(server: EmbeddedServer) -> None:
    assert look(server.url).unlimited
    with connect(server.url) as redis:
        redis.execute_command("ACL", "SETUSER", "small", "on", f">{PASSWORD}", "+time", "+info", "~nothing*")
    facts = look(server.url.replace("://", f"://small:{PASSWORD}@"))
    assert (facts.user, facts.unlimited, facts.config) == (None, False, None)


@pytest.mark.slow
def test_with_the_model(folder: Path, server: EmbeddedServer, cache: Path) -> None:
    code, levels, output = rows(folder, server.url, "--model", cache=str(cache))
    assert (code, levels["policies.model"]) == (0, "ok"), output
    code, levels, output = rows(folder, server.url, "--model", cache=str(cache), dtype="int8")
    assert (code, levels["policies.model"]) == (1, "problem"), output
    assert "int8" in output
