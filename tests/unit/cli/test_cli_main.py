import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from moderator.cli import main as cli
from moderator.errors import (
    EncoderUnknown,
    ImageNotFound,
    ModeratorError,
    PolicyNotFound,
    QueueUnavailable,
    SettingsError,
)
from moderator.settings import load_settings

COMMANDS = {
    *("check", "classify", "similarity", "embed", "search", "probe", "bench"),  # no queue
    *("demo", "worker", "submit", "spool", "verdicts", "dead-letters", "policy", "models", "signals"),
    *("doctor", "webhooks"),
}


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def walk(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


ALL = list(walk(typer.main.get_command(cli.app)))
LEAVES = [(path, command) for path, command in ALL if not hasattr(command, "commands")]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})


def test_commands() -> None:
    assert {path[0] for path, _ in ALL if path} == COMMANDS


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=" ".join)
def test_help_fits_a_terminal(path: tuple[str, ...]) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "Usage:" in result.stdout


@pytest.mark.parametrize("path", [path for path, _ in LEAVES if path[0] != "policy"], ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...]) -> None:
    text = invoke(*path, "--help").stdout
    assert re.search(rf"^\s+.*moderator {' '.join(path)}\b", text, re.M), text


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_option_and_argument_is_explained(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    for parameter in command.params:
        if not {"--install-completion", "--show-completion"} & set(parameter.opts):
            assert parameter.help, f"{path}: {parameter.name}"


def test_main_help_has_an_example() -> None:
    lines = [line.strip() for line in invoke("-h").stdout.splitlines()]
    assert "moderator check cat.jpg --policy marketplace" in lines


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("check",),
        ("check", "a.jpg", "--fail-on", "sometimes"),
        ("check", "a.jpg", "--policy"),
        ("submit",),
        ("submit", "a.jpg", "--priority", "urgent"),
        ("submit", "a.jpg", "--timeout", "soon"),
        ("verdicts",),
        ("verdicts", "show"),
        ("verdicts", "tail", "-n", "-1"),
        ("dead-letters", "list", "--limit", "0"),
        ("dead-letters", "replay"),
        ("dead-letters", "replay", "a", "--all"),
        ("dead-letters", "replay", "a", "--error", "FetchFailed"),
        ("dead-letters", "drop"),
        ("worker", "--log-level", "loud"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output


def run_main(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def app() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("a"), 2),
        (PolicyNotFound("b"), 2),
        (EncoderUnknown("c"), 2),
        (QueueUnavailable("d"), 1),
        (ImageNotFound("[red]e[/] {x}"), 1),
    ],
)
def test_errors_become_messages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: ModeratorError, code: int
) -> None:
    assert run_main(monkeypatch, error) == code
    assert capsys.readouterr().err == f"error: {error}\n"


def test_interruptions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_main(monkeypatch, KeyboardInterrupt()) == 130


def test_help_loads_no_model_library() -> None:
    import subprocess

    code = "import sys, moderator.cli.main; print([m for m in ('torch', 'transformers', 'celery') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n", "help has to come at once"
