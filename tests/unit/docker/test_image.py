"""The Dockerfile follows the rules that a linter would ask for, and its commands work as written."""

import json
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from moderator.settings import Settings

ROOT = Path(__file__).parents[3]
Instruction = tuple[str, str]


def instructions(text: str) -> list[Instruction]:
    """Keyword and arguments of each instruction; comments gone, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word.upper(), rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


FILE = instructions((ROOT / "docker" / "Dockerfile").read_text())


def all_of(*words: str) -> list[str]:
    return [rest for word, rest in FILE if word in words]


def last_stage() -> list[Instruction]:
    start = max(n for n, (word, _) in enumerate(FILE) if word == "FROM")
    return FILE[start:]


def one(word: str) -> str:
    (rest,) = [rest for w, rest in last_stage() if w == word]
    return rest


def environment() -> dict[str, str]:
    pairs = (pair.partition("=") for pair in shlex.split(one("ENV")))
    return {name: value for name, _, value in pairs}


def test_the_base_is_pinned_and_the_same_in_every_stage() -> None:
    (base,) = [rest for rest in all_of("ARG") if rest.startswith("PYTHON_IMAGE=")]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+(\.\d+)?-slim-\w+(@sha256:[0-9a-f]{64})?", base)
    stages = [rest.split() for rest in all_of("FROM")]
    assert len(stages) >= 2
    assert {stage[0] for stage in stages} == {"${PYTHON_IMAGE}"}
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert requires == ">=" + base.split(":")[1].split("-")[0]


def test_the_last_stage_runs_as_a_user_with_a_fixed_number() -> None:
    user, group = map(int, one("USER").split(":"))
    assert user > 0
    assert group > 0
    created = " ".join(rest for word, rest in last_stage() if word == "RUN")
    assert f"--uid {user}" in created
    assert f"--gid {group}" in created
    after = [word for word, _ in last_stage()][[word for word, _ in last_stage()].index("USER") :]
    assert "RUN" not in after
    assert "COPY" not in after


def test_entry_point_command_and_health_check_are_in_exec_form() -> None:
    assert json.loads(one("ENTRYPOINT")) == ["moderator"]
    assert json.loads(one("CMD")) == ["worker"]
    assert isinstance(json.loads(one("HEALTHCHECK").partition(" CMD ")[2]), list)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert "moderator" in scripts


def test_nothing_is_fetched_behind_the_back_of_the_package_manager() -> None:
    assert all_of("ADD") == []
    for command in all_of("RUN"):
        assert not re.search(r"\b(curl|wget|git clone|sudo)\b", command)


def test_no_layer_keeps_package_lists_or_caches() -> None:
    for command in all_of("RUN"):
        if re.search(r"\bapt(-get)? install\b", command):
            assert "--no-install-recommends" in command
            assert "rm -rf /var/lib/apt/lists/*" in command
    build = " ".join(all_of("ENV"))
    assert "PIP_NO_CACHE_DIR=1" in build


def test_pip_resolves_nothing_beside_the_pins() -> None:
    installs = [
        part
        for command in all_of("RUN")
        for part in re.split(r"&&|;|\bthen\b", command)
        if re.search(r"\bpip\b.*\b(install|wheel)\b", part)
    ]
    assert len(installs) >= 4
    for install in installs:
        assert "-c constraints.txt" in install or "--no-deps" in install, install


def test_dependencies_are_laid_down_before_the_code_that_changes_daily() -> None:
    copies = [n for n, (word, _) in enumerate(FILE) if word == "COPY"]
    install = next(n for n, (word, rest) in enumerate(FILE) if word == "RUN" and "requirements.txt" in rest)
    before = " ".join(FILE[n][1] for n in copies if n < install)
    assert before == "pyproject.toml constraints.txt ./"


def test_everything_that_is_copied_exists_and_reaches_the_builder() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore, "an allow-list: a secret beside the code must not slip in"
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    copied = {
        source for rest in all_of("COPY") if not rest.startswith("--from=") for source in rest.split()[:-1]
    }
    assert copied == allowed
    assert [name for name in sorted(copied) if not (ROOT / name).exists()] == []


def test_the_build_has_all_that_the_wheel_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"]}
    needed |= set(project["project"]["license-files"])
    assert needed <= {source for rest in all_of("COPY") for source in rest.split()[:-1]}


def test_the_environment_sets_what_exists_and_writes_only_to_the_cache() -> None:
    names = {
        name.removeprefix("MODERATOR_").lower() for name in environment() if name.startswith("MODERATOR_")
    }
    assert names <= set(Settings.model_fields)
    assert environment()["MODERATOR_CACHE"].startswith("/var/cache/moderator/")
    assert environment()["HF_HOME"].startswith("/var/cache/moderator/")
    assert int(environment()["MODERATOR_METRICS_PORT"]) == Settings.model_fields["metrics_port"].default
    assert one("EXPOSE") == environment()["MODERATOR_METRICS_PORT"]
    assert not [name for name in environment() if re.search("SECRET|PASSWORD|TOKEN", name)]


@pytest.mark.parametrize("extras", ["", "gateway", None])
def test_the_list_of_dependencies_is_read_from_the_project_file(extras: str | None) -> None:
    (default,) = (
        shlex.split(rest)[0].partition("=")[2] for rest in all_of("ARG") if rest.startswith("EXTRAS=")
    )
    extras = default if extras is None else extras
    command = next(rest for rest in all_of("RUN") if "requirements.txt" in rest)
    python, flag, script = shlex.split(command.split(" > ")[0])
    assert (python, flag) == ("python", "-c")
    script = script.replace("${EXTRAS}", extras)
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [one for extra in extras.split() for one in project["optional-dependencies"][extra]]
    assert {"gateway", "archive"} <= set(default.split()), "what the compose file starts"
    # Never the project by its name, which an index would look up.
    expected = [*project["dependencies"], *(one for one in optional if not one.startswith("moderator["))]
    assert run.stdout.splitlines() == expected


@contextmanager
def metrics_server(status: int) -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def health(port: int) -> int:
    command = json.loads(one("HEALTHCHECK").partition(" CMD ")[2])
    assert command.pop(0) == "python"
    # A proxy in the environment must not be asked for an address of the container itself.
    env = {"MODERATOR_METRICS_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run([sys.executable, *command], env=env, capture_output=True, timeout=30).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_asks_live(status: int, code: int) -> None:
    with metrics_server(status) as (port, asked):
        assert health(port) == code
    assert asked == ["/live"]


def test_the_health_check_fails_where_nothing_listens() -> None:
    with metrics_server(200) as (port, _):
        pass
    assert health(port) == 1
