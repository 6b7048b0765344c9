import base64
from pathlib import Path

import pytest

from moderator.operations.doctor.findings import Level
from moderator.operations.doctor.secrets import (
    EXAMPLE_SECRET,
    check_command_lines,
    check_files,
    check_webhook_secret,
    read_command_lines,
    secrets_of,
)
from moderator.settings import Settings


def secret(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


GOOD, OTHER = secret(bytes(range(32))), secret(bytes(range(24)))


@pytest.mark.parametrize(
    ("value", "hosts", "level", "word"),
    [
        (None, (), Level.OK, "off"),
        (None, ("a.example.org",), Level.PROBLEM, "there is no secret"),
        (GOOD, (), Level.OK, "32 bytes"),
        (f"{GOOD} {OTHER}", (), Level.OK, "2 secrets, of 32, 24 bytes"),
        (f"{GOOD} {secret(bytes(range(23)))}", (), Level.PROBLEM, "23 bytes"),
        (f"{GOOD} whsec_not", (), Level.PROBLEM, "does not start"),
        ("  ", (), Level.PROBLEM, "empty"),
        (secret(bytes(range(23))), (), Level.PROBLEM, "23 bytes"),
        (secret(bytes(range(65))), (), Level.PROBLEM, "65 bytes"),
        (secret(b"a" * 32), (), Level.PROBLEM, "guessed"),
        (EXAMPLE_SECRET, (), Level.PROBLEM, "guessed"),
        ("whsec_not-base64", (), Level.PROBLEM, "does not start"),
    ],
)
def test_the_webhook_secret(value: str | None, hosts: tuple[str, ...], level: Level, word: str) -> None:
    finding = check_webhook_secret(Settings(webhook_secret=value, webhook_hosts=hosts))  # type: ignore[arg-type]
    assert finding.level is level
    assert word in finding.message
    for one in (value or "").split():
        assert one not in finding.message + finding.remedy


def test_all_ways_of_writing_the_secrets_are_known() -> None:
    settings = Settings(redis_url="redis://u:p%2Fa@host/0", webhook_secret=GOOD)  # type: ignore[arg-type]
    assert set(secrets_of(settings)) == {"p%2Fa", "p/a", GOOD, GOOD.removeprefix("whsec_")}
    assert secrets_of(Settings(redis_url="redis://host/0")) == ()
    several = Settings(redis_url="redis://host/0", webhook_secret=f" {GOOD}  {OTHER}\n")  # type: ignore[arg-type]
    assert {GOOD, OTHER} <= set(secrets_of(several))
    archive = Settings(redis_url="redis://host/0", archive_url="postgresql://u:q%2Fb@host/db")
    assert set(secrets_of(archive)) == {"q%2Fb", "q/b"}
    assert set(secrets_of(Settings(redis_url="sentinel://u:p%2Fa@a,b/main"))) == {"p%2Fa", "p/a"}
    signed = "https://a.test/b?sv=1&sig=p%2Fa https://a.test/c?sig=qqq&sv=1"
    blobs = Settings(redis_url="redis://host/0", fetch_sas=signed)  # type: ignore[arg-type]
    assert set(secrets_of(blobs)) == {"p%2Fa", "p/a", "qqq"}
    broken = "redis://:pa/ss@host/0"
    assert secrets_of(Settings(redis_url=broken)) == (broken,)


@pytest.mark.parametrize(
    ("mode", "level"), [(0o600, Level.OK), (0o640, Level.OK), (0o644, Level.PROBLEM), (0o602, Level.PROBLEM)]
)
def test_a_file_with_a_secret_is_for_its_owner(tmp_path: Path, mode: int, level: Level) -> None:
    path = tmp_path / ".env"
    path.write_text(f"MODERATOR_WEBHOOK_SECRET={GOOD}\n")
    path.chmod(mode)
    (finding,) = check_files([path, tmp_path / "moderator.toml"], [GOOD])
    assert (finding.level, finding.check) == (level, "secrets.env")
    assert GOOD not in finding.message + finding.remedy


def test_a_file_without_a_secret_may_be_read(tmp_path: Path) -> None:
    path = tmp_path / "moderator.toml"
    path.write_text("threads = 2\n")
    path.chmod(0o644)
    (finding,) = check_files([path], [GOOD])
    assert finding.level is Level.OK


def test_command_lines_that_tell_a_secret(tmp_path: Path) -> None:
    for pid, words in (
        ("12", [b"redis-server", b"--requirepass", b"long-password"]),
        ("13", [b"redis-server", b""]),
    ):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes(b"\0".join(words))
    (tmp_path / "14").mkdir()  # ended meanwhile
    lines = read_command_lines(tmp_path)
    assert lines[12] == "redis-server --requirepass long-password"
    found = check_command_lines(lines, ["long-password", "redis"])
    assert found.level is Level.WARNING
    assert "(12)" in found.message
    assert "long-password" not in found.message + found.remedy
    assert check_command_lines(lines, ["redis"]).level is Level.OK, "short ones stand there by chance"
