import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

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
    NoImages,
    PolicyNotFound,
    QueueUnavailable,
    SettingsError,
)
from moderator.settings import load_settings
from tests.support.clip_models import PHOTOGRAPHS

COMMANDS = {
    *("check", "classify", "similarity", "embed", "search", "probe", "bench"),  # no queue
    *(
        "demo",
        "worker",
        "deliver",
        "submit",
        "archive",
        "backfill",
        "replay",
        "spool",
        "verdicts",
        "dead-letters",
        "policy",
        "models",
        "signals",
    ),
    *("doctor", "hooks", "webhooks", "gateway", "keys"),
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
        (NoImages("f"), 2),
    ],
)
def test_errors_become_messages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: ModeratorError, code: int
) -> None:
    assert run_main(monkeypatch, error) == code
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_file_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, PermissionError(13, "Permission denied", "out.png")) == 1
    assert capsys.readouterr().err.startswith("error: out.png: Permission denied; check")


def test_interruptions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_main(monkeypatch, KeyboardInterrupt()) == 130


def run(
    *arguments: str, stdout: Any = subprocess.PIPE, **environment: str
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, env=env)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(option: str) -> None:
    heavy = ("torch", "transformers", "celery", "redis", "numpy", "PIL", "pydantic")
    code = (
        f"import sys; sys.argv[1:] = ['{option}']; import moderator.cli.main as cli\n"
        f"try: cli.main()\nfinally: print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    assert run("-c", code).stderr == "[]\n", "it has to come at once"


def test_version() -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    lines = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    assert lines == {
        "moderator": metadata.version("moderator"),
        "Python": platform.python_version(),
        "torch": metadata.version("torch"),
    }


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    for (name, *rest), command in ((path, command) for path, command in ALL if path):
        if not rest:
            assert str(command.help).partition("\n\n")[0].replace("\n", " ") == cli.COMMANDS[name]


def test_a_reader_that_has_seen_enough() -> None:
    # It is gone before the first line: whether `head` is before the last one is a matter of luck.
    shell = f"{sys.executable} -m moderator models list | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("141", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has it")
@pytest.mark.parametrize(
    "arguments", [["--help"], ["models", "list"], ["models", "list", "--json"], ["policy", "list"]]
)
def test_a_full_disk(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = run("-m", "moderator", *arguments, stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("error: No space left on device")
    assert done.stderr.count("\n") == 1


def test_names_that_the_terminal_does_not_know() -> None:
    done = run("-m", "moderator", "policy", "show", "猫", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_libraries_leave_standard_error_alone(small_clip: Path) -> None:
    photograph = str(PHOTOGRAPHS / "cat.jpg")
    done = run(
        *("-m", "moderator", "classify", photograph, "--labels", "a cat,a dog", "--json"),
        MODERATOR_ENCODER=f"clip:{small_clip}",
        MODERATOR_CACHE="cache",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["labels"]) == 2


def test_libraries_show_no_progress_unless_told_to() -> None:
    code = (
        "import moderator.cli.main, os; "
        "print(os.environ['HF_HUB_DISABLE_PROGRESS_BARS'], os.environ['TQDM_DISABLE'])"
    )
    assert run("-c", code).stdout == "1 1\n"
    assert run("-c", code, TQDM_DISABLE="0").stdout == "1 0\n"
