import stat
from pathlib import Path

import pytest

from moderator.atomic import remove_leftovers, replacing, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == ["file"]


def test_a_writer_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")

    def write_half() -> None:
        with replacing(path) as new:
            new.write_bytes(b"tw")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["file"]


def test_it_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    synced: list[bool] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(path.exists()))
    write_atomically(path, b"one")
    assert synced == [False, True], "the file, then its name in the folder"


def test_permissions_and_links_survive(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(b"one")
    real.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(real)
    write_atomically(link, b"two")
    assert link.is_symlink()
    assert real.read_bytes() == b"two"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    for name in (".a[1].new-0", ".b.new-0", ".hidden", "a[1]"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, "a[1]")
    assert names(tmp_path) == [".b.new-0", ".hidden", "a[1]"]
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".hidden", "a[1]"]
