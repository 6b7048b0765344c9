"""What the doctor says of an archive."""

from pathlib import Path

import pytest

from moderator.archive.archive_store import open_archive
from moderator.archive.segments import list_segments, path_of, seal
from moderator.operations.doctor import archive_checks
from moderator.operations.doctor.archive_checks import examine_archive
from moderator.operations.doctor.findings import Level
from moderator.settings import Settings
from tests.support.archived import fill


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(archive_url=f"sqlite:///{tmp_path}/archive.sqlite3")


def found(settings: Settings) -> tuple[Level, str]:
    (finding,) = examine_archive(settings)
    return finding.level, finding.message


def test_there_may_be_none() -> None:
    assert found(Settings())[0] is Level.OK


def test_what_is_wrong_with_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = open_archive(settings)
    fill(archive, range(3))
    assert found(settings) == (Level.OK, "the archive holds 3 verdicts")
    with monkeypatch.context() as patched:
        patched.setattr(archive_checks, "WAITING_FRAMES_WARNING", 2)
        assert found(settings)[0] is Level.WARNING
        patched.setattr(archive_checks, "find_spec", lambda name: None)
        assert found(settings)[0] is Level.PROBLEM
    seal(archive, everything=True)
    with archive.database.read() as connection:
        (segment,) = list_segments(connection)
    path_of(archive, segment).unlink()
    level, message = found(settings)
    assert (level, segment.path in message) == (Level.PROBLEM, True)


def test_a_database_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(archive_url=f"sqlite:///{tmp_path}/file/archive.sqlite3")
    assert found(settings)[0] is Level.PROBLEM
