import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from colour_encoder import ColourEncoder, picture, write_policies
from typer.testing import CliRunner

from moderator import Moderator, Verdict
from moderator.cli.main import USAGE_ERRORS, app
from moderator.errors import NoImages, PolicyNotFound
from moderator.settings import load_settings


@pytest.fixture(autouse=True)
def _service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "POLICIES": write_policies(tmp_path / "rules"),
        "DEFAULT_POLICY": "colours",
        "CACHE": tmp_path / "cache",
    }.items():
        monkeypatch.setenv(f"MODERATOR_{name}", str(value))
    monkeypatch.setattr("moderator.engine.engine.encoder_of", lambda *arguments: ColourEncoder())
    load_settings.cache_clear()
    for name in ("red", "green", "blue"):
        Path(f"{name}.png").write_bytes(picture(name))
    Path("text.png").write_text("no image")
    yield
    load_settings.cache_clear()


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments])


def verdicts(result: Result) -> list[Verdict]:
    return [Verdict.model_validate_json(line) for line in result.stdout.splitlines()]


def test_json_lines_in_the_order_of_the_arguments() -> None:
    names = ["red.png", "text.png", "green.png", "missing.png"]
    result = check(*names, "--json")
    assert result.exit_code == 0, "an answer may be an error"
    assert [v.event_id for v in verdicts(result)] == names
    assert [str(v.decision) for v in verdicts(result)] == ["block", "error", "allow", "error"]
    assert "categories" in json.loads(result.stdout.splitlines()[0])


def test_a_folder() -> None:
    result = check(".", "--json")
    assert [v.event_id for v in verdicts(result)] == ["blue.png", "green.png", "red.png", "text.png"]


def test_a_table() -> None:
    result = check("red.png", "text.png")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0][:2] == ["image", "decision"]
    assert lines[1][:3] == ["red.png", "block", "red"]
    assert lines[2][:3] == ["text.png", "error", "NotAnImage:"]


@pytest.mark.parametrize(
    ("image", "fail_on", "code"),
    [
        ("green.png", "review", 0),
        ("green.png", "allow", 1),
        ("red.png", "review", 1),
        ("red.png", "block", 1),
        ("red.png", "error", 0),
        ("text.png", "block", 1),
        ("text.png", "error", 1),
    ],
)
def test_fail_on(image: str, fail_on: str, code: int) -> None:
    assert check("green.png", image, "--fail-on", fail_on).exit_code == code


def test_an_interruption_leaves_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Moderator.check_each

    def interrupted(self: Moderator, images: list[str], policy: str | None = None) -> Iterator[Verdict]:
        yield from real(self, images[:2], policy)
        raise KeyboardInterrupt

    monkeypatch.setattr(Moderator, "check_each", interrupted)
    result = check("red.png", "green.png", "blue.png")
    assert result.exit_code == 130
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["image", "red.png", "green.png"]
    assert [v.event_id for v in verdicts(check("red.png", "green.png", "blue.png", "--json"))] == [
        "red.png",
        "green.png",
    ]


@pytest.mark.parametrize("names", [["empty"], ["empty", "texts"], ["*.gif"], ["empty", "?.jpg"]])
def test_nothing_to_judge_is_wrong_usage(names: list[str]) -> None:
    Path("empty").mkdir()
    Path("texts").mkdir()
    Path("texts/a.txt").touch()
    result = check(*names)
    assert isinstance(result.exception, NoImages)
    assert isinstance(result.exception, USAGE_ERRORS), "ends with 2"
    assert names[0] in str(result.exception) or names[-1] in str(result.exception)


@pytest.mark.parametrize("columns", ["60", "80"])
def test_the_remedy_of_an_error_is_there(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    (verdict,) = verdicts(check("text.png", "--json"))
    result = check("text.png")
    assert verdict.error is not None
    assert f"NotAnImage: {verdict.error.message}" in " ".join(result.stdout.split())
    assert max(map(len, result.stdout.splitlines())) <= int(columns)


def test_a_version() -> None:
    (verdict,) = verdicts(check("red.png", "--json", "--policy", "colours@3"))
    assert verdict.policy.version == 3


def test_an_unknown_policy() -> None:
    result = check("red.png", "--policy", "nonsense")
    assert isinstance(result.exception, PolicyNotFound)
    assert result.stdout == ""
