"""The commands as a user runs them: what they print, and how they end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer, free_port
from moderator.queue.message import encode_message
from tests.support.service import environment, json_lines, run_cli, small_jpeg, until

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def moderator(tmp_path: Path, shared_server: EmbeddedServer, policies: Path, cache: Path) -> Run:
    settings = {"redis_url": shared_server.url, "policies": str(policies), "cache": str(cache)}

    def run(*arguments: object, **more: str) -> "subprocess.CompletedProcess[str]":
        return run_cli(*map(str, arguments), cwd=tmp_path, **{**settings, **more})

    return run


def test_submit_and_wait(moderator: Run, client: Client, images: Path) -> None:
    result = moderator("submit", images / "cat.jpg", images / "coffee.jpg", "--wait", "--json")

    assert result.returncode == 0, result.stderr
    verdicts = json_lines(result.stdout)
    assert [v["metadata"] for v in verdicts] == [{"file": "cat.jpg"}, {"file": "coffee.jpg"}]
    assert all(v["decision"] in {"allow", "review", "block"} for v in verdicts)


def test_submit_and_wait_for_what_cannot_be_judged(
    moderator: Run, client: Client, images: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0")

    result = moderator("submit", broken, images / "cat.jpg", "--wait", "--json")

    assert result.returncode == 3, result.stderr
    first, second = json_lines(result.stdout)
    assert (first["decision"], first["error"]["type"]) == ("error", "ImageBroken")
    assert second["decision"] in {"allow", "review", "block"}


@pytest.mark.slow
def test_ctrl_c_leaves_what_was_printed_and_waits_for_no_host(
    images: Path, tmp_path: Path, policies: Path, cache: Path
) -> None:
    settings = environment(policies=str(policies), cache=str(cache), fetch_networks="127.0.0.0/8")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.jpg"
        command = [sys.executable, "-m", "moderator", "check", str(images / "cat.jpg"), url]
        process = subprocess.Popen(
            command, env=settings, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)

    assert [line.split()[0] for line in lines] == ["image", "cat.jpg"]
    assert (process.returncode, rest, errors) == (130, "", "")
    assert time.monotonic() - began < 5


def test_submit_then_show_and_tail(moderator: Run, client: Client, images: Path) -> None:
    source = uuid4().hex
    result = moderator("submit", images / "cat.jpg", "--json", "--source", source, "--priority", "bulk")
    assert result.returncode == 0, result.stderr
    (record,) = json_lines(result.stdout)
    assert record["source"] == source

    shown = moderator("verdicts", "show", record["id"], "--source", source, "--wait", "60")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["event_id"] == record["id"]

    tail = moderator("verdicts", "tail", "-n", "5", "--json")
    assert tail.returncode == 0
    assert record["id"] in [v["event_id"] for v in json_lines(tail.stdout)]
    assert record["id"] in moderator("verdicts", "tail", "-n", "5").stdout


def test_show_without_a_verdict_ends_with_1(moderator: Run, client: Client) -> None:
    result = moderator("verdicts", "show", "nobody")
    assert (result.returncode, result.stdout) == (1, "")
    assert "no verdict for nobody" in result.stderr


def test_dead_letters_from_list_to_drop(moderator: Run, client: Client, images: Path) -> None:
    file = images / f"{uuid4().hex}.jpg"
    event = client.submit(path=file)
    client.wait(event.id)
    body = uuid4().hex
    client.redis.lpush("moderation", encode_message([body], "moderation"))
    until(lambda: any(body in (letter.raw or "") for letter in client.dead_letters))

    listed = moderator("dead-letters", "list", "--json")
    assert listed.returncode == 0
    letters = {letter["key"]: letter for letter in json_lines(listed.stdout)}
    assert letters[event.key]["error"] == "ImageNotFound"
    raw_key = next(key for key, letter in letters.items() if body in str(letter.get("raw")))
    assert "ImageNotFound" in moderator("dead-letters", "list").stdout

    shown = moderator("dead-letters", "show", event.key)
    assert json.loads(shown.stdout)["event"]["id"] == event.id

    small_jpeg(file)
    replayed = moderator("dead-letters", "replay", event.key, raw_key)
    assert "replayed 1" in replayed.stdout
    assert client.wait(event.id).error is None
    assert client.dead_letters.get(raw_key) is not None, (
        "what is no event cannot be replayed, nor may it vanish"
    )

    dropped = moderator("dead-letters", "drop", raw_key)
    assert (dropped.returncode, dropped.stdout) == (0, "dropped 1\n")
    again = moderator("dead-letters", "drop", raw_key)
    assert again.returncode == 1
    assert "no dead letter" in again.stderr
    assert moderator("dead-letters", "replay").returncode == 2


@pytest.mark.slow
def test_check_answers_in_order_and_fails_on_what_it_is_told(
    moderator: Run, images: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0")
    files = [images / "cat.jpg", broken, tmp_path / "none.jpg", images / "coffee.jpg"]

    result = moderator("check", *files, "--json")
    assert result.returncode == 0, result.stderr
    verdicts = json_lines(result.stdout)
    assert [v["event_id"] for v in verdicts] == [str(file) for file in files]
    assert [v["error"] and v["error"]["type"] for v in verdicts] == [
        None,
        "ImageBroken",
        "ImageNotFound",
        None,
    ]

    assert moderator("check", images / "cat.jpg", broken, "--json", "--fail-on", "block").returncode == 1
    code = moderator("check", images / "cat.jpg", "--fail-on", "block").returncode
    assert code == int(verdicts[0]["decision"] == "block")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["check", "x.jpg", "--policy", "marketplaze"], 2, "did you mean 'marketplace'"),
        (["check"], 2, "images"),
        (["check", "nothing-in-it"], 2, "no images in nothing-in-it"),
        (["submit", "*.gif", "--wait"], 2, "*.gif: nothing matches"),
        (["search", "nofile.jpg", "--index", "x.parquet"], 1, "--text"),
        (["check", "x.jpg", "--fail-on", "nothing"], 2, "--fail-on"),
        (["submit", "is-not-there.jpg"], 1, "is-not-there.jpg: no such file"),
        (["demo", "--images", "is-not-there"], 1, "is-not-there"),
        (["nothing"], 2, "nothing"),
    ],
)
def test_mistakes_are_told(
    moderator: Run, tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    (tmp_path / "nothing-in-it").mkdir()
    result = moderator(*arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "cat.jpg"],
        ["verdicts", "tail"],
        ["verdicts", "show", "x"],
        ["dead-letters", "list"],
        ["dead-letters", "drop", "x"],
    ],
    ids=" ".join,
)
def test_without_a_server_every_command_says_what_to_do(
    moderator: Run, tmp_path: Path, arguments: list[str]
) -> None:
    small_jpeg(tmp_path / "cat.jpg")
    result = moderator(*arguments, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    assert (result.returncode, result.stdout) == (1, "")
    assert "MODERATOR_REDIS_URL" in result.stderr
    assert "Traceback" not in result.stderr


def processes(tmp_path: Path) -> set[int]:
    """Processes that work in a folder, or have it in their environment (which the server writes over)."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                traces = os.readlink(folder / "cwd").encode() + (folder / "environ").read_bytes()
            except OSError:
                continue
            if str(tmp_path).encode() in traces:
                found.add(int(folder.name))
    return found


def leftovers(tmp_path: Path) -> list[str]:
    return [file.name for file in (tmp_path / "temporary").iterdir() if file.name.startswith("moderator")]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
class TestDemo:
    """It starts a server and a worker, and leaves nothing behind."""

    def start(self, tmp_path: Path, policies: Path, cache: Path, images: Path) -> "subprocess.Popen[str]":
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        settings = environment(policies=str(policies), cache=str(cache))
        return subprocess.Popen(
            [sys.executable, "-m", "moderator", "demo", "--json", "--images", str(images)],
            env={**settings, "TMPDIR": str(temporary)},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @pytest.fixture
    def few(self, tmp_path: Path) -> Path:
        folder = tmp_path / "few"
        folder.mkdir()
        for n in range(4):
            small_jpeg(folder / f"{n}.jpg", shade=50 * n)
        return folder

    def test_it_answers_each_image_and_leaves_nothing(
        self, tmp_path: Path, policies: Path, cache: Path, few: Path
    ) -> None:
        process = self.start(tmp_path, policies, cache, few)

        output, errors = process.communicate(timeout=120)

        assert process.returncode == 0, errors
        verdicts = json_lines(output)
        assert len(verdicts) == 4
        assert all(v["decision"] != "error" for v in verdicts)
        assert processes(tmp_path) == set()
        assert leftovers(tmp_path) == []

    @pytest.mark.parametrize(
        ("number", "pauses"),
        [
            (signal.SIGINT, ()),
            (signal.SIGTERM, ()),
            (signal.SIGHUP, ()),
            # Before a second one: the worker is told to stop, it is waited for, the folder is removed.
            (signal.SIGINT, (0.001,)),
            (signal.SIGTERM, (0.05,)),
            (signal.SIGINT, (0.1, 0.02, 0.02, 0.02)),
        ],
    )
    def test_interrupted_in_the_middle_it_leaves_nothing(
        self,
        tmp_path: Path,
        policies: Path,
        cache: Path,
        few: Path,
        number: signal.Signals,
        pauses: tuple[float, ...],
    ) -> None:
        process = self.start(tmp_path, policies, cache, few)
        until(lambda: len(processes(tmp_path)) >= 3, timeout=60, what="demo, server and worker")
        time.sleep(0.5)  # somewhere in the worker's start

        process.send_signal(number)
        for pause in pauses:
            time.sleep(pause)
            if process.poll() is None:
                process.send_signal(number)

        _, errors = process.communicate(timeout=60)
        assert process.returncode == 128 + number, errors
        assert "Traceback" not in errors
        assert processes(tmp_path) == set()
        assert leftovers(tmp_path) == []
