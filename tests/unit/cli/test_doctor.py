"""`moderator doctor`, where no server answers."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from moderator.cli.main import app
from moderator.operations.doctor import examine
from moderator.operations.doctor.findings import Finding, ok, problem, warning
from moderator.settings import load_settings

PASSWORD, SECRET = "hunter2hunter2hunter2", "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODERATOR_CACHE", str(tmp_path / "cache"))
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "120", "TERMINAL_WIDTH": "120"})


def found(result: Result) -> dict[str, dict[str, str]]:
    return {row["check"]: row for row in map(json.loads, result.stdout.splitlines())}


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=str)
@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{PASSWORD}@127.0.0.1:9/0",
        f"redis://user:{PASSWORD}/x@127.0.0.1:9/0",
        f"sentinel://user:{PASSWORD}@127.0.0.1:9",  # no service name
        f"nonsense://user:{PASSWORD}@127.0.0.1:9/0",
    ],
)
def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], url: str) -> None:
    monkeypatch.setenv("MODERATOR_REDIS_URL", url)
    monkeypatch.setenv("MODERATOR_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("MODERATOR_PASSWORD", PASSWORD)  # no setting, and its value is nobody's business
    env = Path(".env")
    env.write_text(f"MODERATOR_WEBHOOK_SECRET={SECRET}\nMODERATOR_REDIS_URL={url}\n")
    env.chmod(0o644)
    result = run(*arguments)
    assert result.exit_code == 1
    assert "MODERATOR_PASSWORD" in result.output
    flat = "".join(result.output.split())
    for secret in (PASSWORD, SECRET, SECRET.removeprefix("whsec_")):
        assert secret not in flat


def test_no_secret_is_shown_where_a_check_itself_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: object) -> Iterator[Finding]:
        yield ok("secrets.webhook", "so far")
        raise RuntimeError(f"cannot digest {PASSWORD}")

    monkeypatch.setenv("MODERATOR_REDIS_URL", f"redis://:{PASSWORD}@127.0.0.1:9/0")
    monkeypatch.setattr(examine, "examine_secrets", broken)
    result = run("--json")
    rows = found(result)
    assert rows["secrets.webhook"]["message"] == "so far"
    assert "RuntimeError: cannot digest ***" in rows["secrets"]["message"]
    assert "environment.user" in rows, "the other parts are examined"


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATOR_REDIS_URL", "redis://127.0.0.1:9/0")
    result = run("--json")
    assert result.exit_code == 1
    assert found(result)["redis.reachable"]["level"] == "problem"
    assert found(result)["policies.load"]["level"] == "ok"


def test_settings_that_cannot_be_read_are_a_finding() -> None:
    Path("moderator.toml").write_text(f'redis_ulr = "redis://:{PASSWORD}@host/0"\n')
    result = run("--json")
    assert result.exit_code == 1
    (row,) = found(result).values()
    assert (row["check"], row["level"]) == ("settings", "problem")
    assert "did you mean 'redis_url'?" in row["message"]
    assert PASSWORD not in result.output


@pytest.mark.parametrize(
    ("findings", "arguments", "code"),
    [
        ([ok("a", "b")], ("--strict",), 0),
        ([ok("a", "b"), warning("a", "b", "c")], (), 0),
        ([ok("a", "b"), warning("a", "b", "c")], ("--strict",), 1),
        ([problem("a", "b", "c")], (), 1),
    ],
)
def test_how_it_ends(
    monkeypatch: pytest.MonkeyPatch, findings: list[Finding], arguments: tuple[str, ...], code: int
) -> None:
    monkeypatch.setattr(examine, "plan", lambda with_model: [examine.Part("all", lambda: findings)])
    assert run(*arguments).exit_code == code


def test_the_table_has_cause_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [problem("redis.access", "Redis is [red]open[/red]", "close it"), ok("a.b", "fine")]
    monkeypatch.setattr(examine, "plan", lambda with_model: [examine.Part("all", lambda: findings)])
    output = run().stdout
    assert "Redis is [red]open[/red]" in output
    assert "-> close it" in output
    assert "1 problems, 0 warnings, 1 ok" in output
