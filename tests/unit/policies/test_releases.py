import os
import stat
from pathlib import Path

import pytest

from moderator.errors import PolicyChanged, PolicyInvalid
from moderator.policies.loader import load_policy
from moderator.policies.releases import parse_releases, read_releases, verify
from tests.support.policies import release
from tests.support.policy_files import write

A, B = "a" * 64, "b" * 64


def test_nothing_is_released_without_a_lock(tmp_path: Path) -> None:
    assert read_releases(tmp_path) == {}


def test_the_digests_of_the_released_versions_that_ship_stay() -> None:
    """Whatever keys later formats add. The file lists the digests as they were when each version was released."""
    folder = Path(__file__).parents[3] / "policies"
    releases = read_releases(folder)
    assert len(releases) >= 8
    for (name, version), digest in releases.items():
        assert load_policy(folder / name / f"{version}.yaml").digest == digest


def test_release_is_idempotent_and_sorted(tmp_path: Path) -> None:
    for version in (10, 2):
        write(tmp_path, "market", version)
    write(tmp_path, "art", 1)
    for name, version in (("market", 10), ("market", 2), ("art", 1)):
        release(tmp_path, name, version)
    text = (tmp_path / "releases.lock").read_text()
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["art@1", "market@2", "market@10"]
    policy = release(tmp_path, "market", 2)
    assert (tmp_path / "releases.lock").read_text() == text
    assert f"market@2 {policy.digest}\n" in text
    assert verify(policy, read_releases(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["art", "audit.jsonl", "market", "releases.lock"]


def test_a_released_version_never_changes(tmp_path: Path) -> None:
    path = write(tmp_path, block=0.8)
    release(tmp_path, "market", 1)
    path.write_text("# only a comment\n" + path.read_text())
    assert verify(load_policy(path), read_releases(tmp_path))
    write(tmp_path, block=0.7)
    before = (tmp_path / "releases.lock").read_text()
    with pytest.raises(PolicyChanged, match="copy the file to the next free version"):
        release(tmp_path, "market", 1)
    assert (tmp_path / "releases.lock").read_text() == before


def test_invalid_policies_are_not_released(tmp_path: Path) -> None:
    write(tmp_path, text="name: market")
    with pytest.raises(PolicyInvalid):
        release(tmp_path, "market", 1)
    assert not (tmp_path / "releases.lock").exists()


def test_a_lock_that_git_merged() -> None:
    merged = f"# c\n\nshop@1 {A}\nmarket@1 {A}\nmarket@1 {A}\n".encode()
    assert parse_releases(merged) == {("shop", 1): A, ("market", 1): A}


def test_every_bad_line_is_told() -> None:
    text = f"<<<<<<< ours\nmarket@1 {A}\n=======\nmarket@1 {B}\n>>>>>>> theirs\nmarket@0 {A}\nx\n\xff"
    with pytest.raises(PolicyInvalid) as caught:
        parse_releases(text.encode("latin-1"), "releases.lock")
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "3", "4", "5", "6", "7", "8"]
    assert "left from a merge" in lines[0]
    assert "market@1: has two digests" in lines[2]


def test_permissions_and_links_survive(tmp_path: Path) -> None:
    write(tmp_path, "market", 1)
    real = tmp_path / "elsewhere.lock"
    real.write_text("")
    real.chmod(0o640)
    lock = tmp_path / "releases.lock"
    lock.symlink_to(real)
    release(tmp_path, "market", 1)
    assert lock.is_symlink()
    assert "market@1" in real.read_text()
    assert stat.S_IMODE(os.stat(real).st_mode) == 0o640
