"""The whole life of a policy, driven by what its commands print, with a worker that takes each change."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moderator.cli import policy_workers
from moderator.cli.policy import app
from moderator.client import Client
from moderator.policies.pointer_schema import Canary, Pointer
from moderator.queue.announcements import Announcements, HeldPolicy
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.executors import RedisExecutor
from moderator.settings import load_settings
from moderator.verdicts import Decision
from tests.support.letter_encoder import LetterEncoder
from tests.support.service import client_alone

V1, V2 = Pointer(active=1), Pointer(active=2)
NEXT = re.compile(r"^(?:Next:|     ) (moderator policy .*?) +# ", re.MULTILINE)


class Commands:
    """Runs commands as they are printed, and keeps what the last one printed."""

    def __init__(self) -> None:
        self.printed = ""

    def run(self, line: str, *more: str) -> str:
        words = shlex.split(line)
        assert words[:2] == ["moderator", "policy"]
        result = CliRunner().invoke(app, [*words[2:], *more])
        assert result.exit_code == 0, (line, result.output, result.exception)
        self.printed = result.stdout
        return self.printed

    def go_on(self, command: str, *more: str) -> str:
        """Run the command of this name that the last one printed as the next, with more words."""
        printed = NEXT.findall(self.printed)
        chosen = next((line for line in printed if line.split()[2] == command), None)
        assert chosen, f"no {command} among {printed}"
        return self.run(chosen, *more)


@pytest.fixture(autouse=True)
def settings_of_the_test() -> Iterator[None]:
    """Settings are read once per process; here, once per test."""
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.fixture
def folder(policies: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder of the shared worker; afterwards it is as it was."""
    kept = {file: file.read_bytes() for file in policies.iterdir() if file.is_file()}
    monkeypatch.setenv("MODERATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("moderator.encoders.encoder_registry.encoder_of", lambda settings: LetterEncoder())
    yield policies
    for file in [file for file in policies.iterdir() if file.is_file()]:
        file.write_bytes(kept[file]) if file in kept else file.unlink()
    shutil.rmtree(policies / "pets", ignore_errors=True)


@pytest.mark.slow
def test_the_whole_life_of_a_policy(
    folder: Path,
    client: Client,
    shared_server: EmbeddedServer,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decides() -> int:
        verdict = client.wait(client.submit(path=images / "cat.jpg", policy="pets").id)
        assert verdict.decision is not Decision.ERROR, verdict.error
        assert verdict.policy is not None
        return verdict.policy.version

    monkeypatch.setenv("MODERATOR_REDIS_URL", shared_server.url)
    commands = Commands()
    words = (
        "--unsafe",
        "live-animals=a cat; a dog; a bird in a cage",
        "--description",
        "No animals for sale.",
    )
    first = shlex.join(["moderator", "policy", "new", "pets", *words, "--policies", str(folder)])
    assert "pets@1 is a draft" in commands.run(first)
    assert "live-animals: proposed as not to be mistaken for it: " in commands.printed
    assert "0 errors" in commands.go_on("lint")
    assert "pets@1 is released" in commands.go_on("release", "--reason", "the first one")
    assert "pets: version 1 is active\n1 of 1 worker has it\n" in commands.go_on("activate", "--wait", "30")
    assert decides() == 1

    commands.go_on("new", "--safe", "live-animals=a plush toy")
    assert "pets@2 is a draft" in commands.printed
    commands.go_on("lint")
    assert "  + safe    a plush toy\n" in commands.go_on("diff")
    commands.go_on("release")
    assert "version 2 is a shadow" in commands.go_on("shadow", "--wait", "0")
    assert "version 2 decides for 5 % of the events" in commands.go_on("canary", "--wait", "0")
    commands.go_on("promote", "--wait", "30", "--reason", "toys are no animals")
    assert "pets: version 2 is active (before: version 1)\n1 of 1 worker has it\n" in commands.printed
    assert decides() == 2
    commands.go_on("rollback", "--wait", "30", "--reason", "too lax")
    assert "pets: version 1 is active (before: version 2)\n1 of 1 worker has it\n" in commands.printed
    assert decides() == 1

    commands.go_on("log", "--json")
    actions = re.findall(r'"action": "(.*?)", .*?"state": "(.*?)"', commands.printed)
    assert actions == [
        ("release", "in force"),
        ("activate", "replaced"),
        ("release", "in force"),
        ("shadow", "replaced"),
        ("canary", "replaced"),
        ("promote", "replaced"),
        ("rollback", "in force"),
    ]
    assert '"why": "too lax"' in commands.printed


def holds(pointer: Pointer, read: Pointer | None = None, problem: str = "") -> dict[str, HeldPolicy]:
    return {"pets": HeldPolicy(pointer=pointer, digest="0" * 64, read=read or pointer, problem=problem)}


@pytest.fixture
def alone(module_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A database without workers, which the settings name."""
    with client_alone(module_server, "7") as client:
        monkeypatch.setenv("MODERATOR_REDIS_URL", f"{module_server.url.removesuffix('/0')}/7")
        monkeypatch.setattr(policy_workers, "POLL_SECONDS", 0.01)
        yield client


def test_workers_are_counted_by_what_they_announce(alone: Client) -> None:
    workers = [Announcements(RedisExecutor(alone.redis), name) for name in ("one", "two", "three")]
    assert policy_workers.wait_for_workers("pets", V2, 30) == policy_workers.WorkersState()

    workers[0].announce(["pets"], holds(V2))
    workers[1].announce(["pets", "pets@1"], holds(V1))
    state = policy_workers.wait_for_workers("pets", V2, 0.05)
    assert state.have == ("one",)
    assert state.lack == {"two": "still has version 1; does it read the same folder of policies?"}
    assert state.facts() == {"have": 1, "of": 2, "lack": state.lack}
    assert not state.complete
    assert workers[2].knows("pets@1")

    # Whoever says why it cannot use it is not waited for.
    workers[1].announce(["pets"], holds(V1, V2, "no such encoder"))
    state = policy_workers.wait_for_workers("pets", V2, 30)
    assert state.lack == {"two": "no such encoder"}

    workers[1].announce(["pets"], holds(V2))
    assert policy_workers.wait_for_workers("pets", V2, 30).complete
    canary = Pointer(active=2, canary=Canary(version=3, percent=5))
    assert policy_workers.wait_for_workers("pets", canary, 0.05).have == ()

    workers[1].leave()
    assert [one.worker for one in workers[2].held()] == ["one"]
    alone.redis.hset("moderation:held-policies", "one", "{broken")
    assert policy_workers.wait_for_workers("pets", V2, 0.05).lack == {
        "one": "still has no version; does it read the same folder of policies?"
    }
    alone.redis.zadd("moderation:live-workers", {"one": 1.0})
    assert workers[2].held() == []
    # A worker that lives and is not among them is of an earlier version.
    assert "does not announce" in policy_workers.wait_for_workers("pets", V2, 30).unknown
