from pathlib import Path

import pytest

from moderator.errors import PolicyError
from moderator.policies import policy_files
from moderator.policies.policy_files import append_line
from tests.support.policies import release
from tests.support.policy_files import write, write_released


def test_a_writer_that_takes_too_long_is_named(tmp_path: Path) -> None:
    message = rf"another command .*{policy_files.WRITE_LOCK}"
    with (
        policy_files.locked(tmp_path),
        pytest.raises(PolicyError, match=message),
        policy_files.locked(tmp_path, 0.1),
    ):
        pass
    with policy_files.locked(tmp_path, 0.1):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".active.yaml.new-1").write_text("half")
    with policy_files.locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [policy_files.WRITE_LOCK]


def test_a_disk_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_released(tmp_path, versions=1)
    write(tmp_path, version=2)
    before = (tmp_path / "releases.lock").read_text()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(PolicyError, match="No space left"):
        release(tmp_path, "market", 2)
    assert (tmp_path / "releases.lock").read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["audit.jsonl", "market", "releases.lock"]


def test_a_line_that_was_cut_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, "one")
    append_line(path, "two")
    path.write_bytes(path.read_bytes() + b"cu")
    append_line(path, "three")
    assert path.read_bytes() == b"one\ntwo\ncu\nthree\n"
