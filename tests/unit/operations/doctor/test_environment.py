import shutil
from collections import namedtuple
from ipaddress import ip_network
from pathlib import Path

import pytest

from moderator.errors import DecoderUnavailable
from moderator.operations.doctor import environment
from moderator.operations.doctor.environment import (
    check_cache,
    check_decoding,
    check_networks,
    check_policies_folder,
    check_roots,
    check_spool,
    check_user,
    check_variables,
)
from moderator.operations.doctor.findings import Level
from moderator.settings import Settings


def open_to_all(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.mark.parametrize(("user", "level"), [(0, Level.WARNING), (10001, Level.OK)])
def test_root(user: int, level: Level) -> None:
    assert check_user(user).level is level


def test_variables() -> None:
    (finding,) = check_variables(iter([("MODERATOR_X", "did you mean 'MODERATOR_Y'?")]))
    assert (finding.level, finding.remedy) == (Level.WARNING, "did you mean 'MODERATOR_Y'?")
    (finding,) = check_variables(iter(()))
    assert finding.level is Level.OK


class Process:
    """A decoding process that does not start, or cannot filter."""

    answer: bool | Exception = True
    ended = 0

    def __init__(self, *_: object) -> None:
        pass

    def wait_until_ready(self) -> bool:
        if isinstance(Process.answer, Exception):
            raise Process.answer
        return Process.answer

    def end(self) -> None:
        Process.ended += 1


@pytest.mark.parametrize(
    ("answer", "level"),
    [(True, Level.OK), (False, Level.WARNING), (DecoderUnavailable("no"), Level.PROBLEM)],
)
def test_decoding_in_processes(
    monkeypatch: pytest.MonkeyPatch, answer: bool | Exception, level: Level
) -> None:
    monkeypatch.setattr(environment, "DecoderProcess", Process)
    Process.answer, Process.ended = answer, 0
    assert check_decoding(Settings(decode="processes")).level is level
    assert Process.ended == 1


def test_a_real_process_is_started_and_ended() -> None:
    finding = check_decoding(Settings(decode="processes"))
    assert finding.level in {Level.OK, Level.WARNING}
    assert "processes" in finding.message


def test_decoding_in_threads_is_a_warning() -> None:
    assert check_decoding(Settings(decode="threads")).level is Level.WARNING


@pytest.mark.parametrize(
    ("networks", "level"),
    [
        ((), Level.OK),
        (("10.1.2.0/24",), Level.WARNING),
        (("fd12:3456::/32",), Level.WARNING),
        (("10.1.2.0/24", "127.0.0.0/8"), Level.PROBLEM),
        (("169.254.169.254/32",), Level.PROBLEM),
        (("0.0.0.0/0",), Level.PROBLEM),
        (("::/0",), Level.PROBLEM),
        (("fd00:ec2::254/128",), Level.PROBLEM),
    ],
)
def test_networks(networks: tuple[str, ...], level: Level) -> None:
    assert check_networks(tuple(map(ip_network, networks))).level is level


def test_roots(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o755)
    link = tmp_path / "link"
    link.symlink_to("/")
    roots = [Path("/"), link, tmp_path / "none", open_to_all(tmp_path / "open"), closed]
    levels = [finding.level for finding in check_roots(roots)]
    assert levels == [Level.PROBLEM, Level.PROBLEM, Level.PROBLEM, Level.WARNING, Level.OK]
    (finding,) = check_roots(())
    assert finding.level is Level.OK


def test_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def level(folder: Path | None, spool_bytes: int = 1) -> Level:
        return check_spool(Settings(spool=folder, spool_bytes=spool_bytes)).level

    assert level(None) is Level.OK
    assert level(tmp_path / "to" / "be" / "made") is Level.OK
    (tmp_path / "file").touch()
    assert level(tmp_path / "file" / "spool") is Level.PROBLEM
    assert level(open_to_all(tmp_path / "open")) is Level.WARNING
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(999))
    assert level(tmp_path, 1000) is Level.WARNING
    assert level(tmp_path, 999) is Level.OK


def test_the_cache(tmp_path: Path) -> None:
    assert check_cache(tmp_path / "cache").level is Level.OK
    (tmp_path / "file").touch()
    assert check_cache(tmp_path / "file").level is Level.WARNING
    assert check_cache(open_to_all(tmp_path / "open")).level is Level.PROBLEM


def test_the_folder_of_policies(tmp_path: Path) -> None:
    assert check_policies_folder(tmp_path).level is Level.OK
    assert check_policies_folder(tmp_path / "none").level is Level.OK, "that is said elsewhere"
    assert check_policies_folder(open_to_all(tmp_path / "open")).level is Level.PROBLEM
