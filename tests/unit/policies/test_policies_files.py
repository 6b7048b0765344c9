"""Several programs change one folder at once."""

import subprocess
import sys
from pathlib import Path

import pytest
from policy_files import write, write_released

from moderator.errors import PolicyError
from moderator.policies import files
from moderator.policies.pointers import read_pointers
from moderator.policies.releases import read_releases, release

WRITERS = 8
VERSIONS = 6

#: Starts a process for each policy, which does one thing for each version and prints what it is done with; kills some.
SCRIPT = """\
import os, random, signal, sys, time
from pathlib import Path
from moderator.policies.pointers import activate
from moderator.policies.releases import release
action, folder, (writers, versions, kill) = sys.argv[1], Path(sys.argv[2]), map(int, sys.argv[3:])
children = []
start = time.monotonic() + 0.2
for n in range(writers):
    if child := os.fork():
        children.append(child)
        continue
    time.sleep(start - time.monotonic())
    for version in range(1, versions + 1):
        (release if action == "release" else activate)(folder, f"shop-{n}", version)
        os.write(1, f"shop-{n} {version}\\n".encode())
    os._exit(0)
time.sleep(start - time.monotonic())
for child in children[:kill]:
    time.sleep(random.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
codes = [os.waitpid(child, 0)[1] for child in children]
sys.exit(any(codes[kill:]))
"""


def run_writers(folder: Path, action: str, *, kill: int = 0) -> dict[str, int]:
    """Let every policy have a process of its own; return the last version that each said it was done with."""
    numbers = map(str, (WRITERS, VERSIONS, kill))
    command = [sys.executable, "-c", SCRIPT, action, str(folder), *numbers]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    done = {f"shop-{n}": 0 for n in range(WRITERS)}
    for line in ended.stdout.splitlines():
        name, version = line.split()
        done[name] = int(version)
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    for n in range(WRITERS):
        for version in range(1, VERSIONS + 1):
            write(folder, f"shop-{n}", version)
    return folder


def test_releases_at_once_are_all_kept(folder: Path) -> None:
    assert set(run_writers(folder, "release").values()) == {VERSIONS}
    everything = {(f"shop-{n}", v) for n in range(WRITERS) for v in range(1, VERSIONS + 1)}
    assert set(read_releases(folder)) == everything


def test_releases_of_which_some_are_killed_are_kept_and_hold_up_nobody(folder: Path) -> None:
    done = run_writers(folder, "release", kill=WRITERS // 2)
    released = set(read_releases(folder))
    assert {(name, v) for name, last in done.items() for v in range(1, last + 1)} <= released
    for n in range(WRITERS):
        release(folder, f"shop-{n}", VERSIONS)
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == ["releases.lock"], "left by the killed"


@pytest.mark.parametrize("kill", [0, WRITERS // 2])
def test_activations_at_once_are_all_kept(folder: Path, kill: int) -> None:
    for n in range(WRITERS):
        for version in range(1, VERSIONS + 1):
            release(folder, f"shop-{n}", version)
    done = run_writers(folder, "activate", kill=kill)
    active = {name: pointer.active for name, pointer in read_pointers(folder).items()}
    for n, (name, last) in enumerate(done.items()):
        # Who was killed may have done one more than it came to say.
        assert active.get(name, 0) in ((last, last + 1) if n < kill else (VERSIONS,)), name


def test_a_writer_that_takes_too_long_is_named(tmp_path: Path) -> None:
    message = rf"another command .*{files.WRITE_LOCK}"
    with files.locked(tmp_path), pytest.raises(PolicyError, match=message), files.locked(tmp_path, 0.1):
        pass
    with files.locked(tmp_path, 0.1):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_released(tmp_path, versions=1)
    write(tmp_path, version=2)
    before = (tmp_path / "releases.lock").read_text()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moderator.policies.files.os.fsync", full)
    with pytest.raises(PolicyError, match="No space left"):
        release(tmp_path, "market", 2)
    assert (tmp_path / "releases.lock").read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["market", "releases.lock"]
