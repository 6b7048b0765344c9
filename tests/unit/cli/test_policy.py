import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from moderator.cli import policy_changes, policy_workers
from moderator.cli.policy import app
from moderator.errors import PolicyChanged, PolicyConflict, PolicyInvalid, PolicyNotFound, PolicyUnreleased
from moderator.identity import Identity
from moderator.settings import load_settings
from tests.support.tools import needs_extra

TEXT = """\
name: market
version: {version}
description: Things that [bold]may not[/bold] be sold.
safe: [a landscape, a plate of food, a chair]
categories:
  weapons: {{unsafe: [a gun, a rifle], review: 0.45, block: 0.8}}
"""


@pytest.fixture(autouse=True)
def no_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands go on at once where no Redis answers."""
    monkeypatch.setenv("MODERATOR_REDIS_URL", "redis://localhost:1/0")
    monkeypatch.setattr(policy_workers, "ANSWER_SECONDS", 0.02)
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for version in (1, 2, 3):
        write(tmp_path, version, TEXT.format(version=version))
    assert run(tmp_path, "release", "market@1").exit_code == 0
    assert run(tmp_path, "release", "market@2").exit_code == 0
    assert run(tmp_path, "activate", "market@1").exit_code == 0
    return tmp_path


def write(folder: Path, version: int, text: str) -> None:
    path = folder / "market" / f"{version}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def run(folder: Path, *arguments: str) -> Result:
    model = ["--no-embedding"] if arguments[0] == "lint" else []
    return CliRunner().invoke(app, [*arguments, *model, "--policies", str(folder)])


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_list(folder: Path) -> None:
    result = run(folder, "list")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["policy", "version", "state", "categories", "prompts", "digest"]
    assert [line[:5] for line in lines[1:]] == [
        ["market", "1", "active", "1", "5"],
        ["market", "2", "released", "1", "5"],
        ["market", "3", "draft", "1", "5"],
    ]
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_list_tells_of_problems(folder: Path) -> None:
    write(folder, 4, "x: y")
    (folder / "active.yaml").write_text(
        "market: {active: 1, shadow: [2], canary: {version: 2, percent: 2.5}}"
    )
    result = run(folder, "list")
    assert "canary 2.5 %, shadow" in result.stdout
    assert "broken" in result.stdout
    assert "1 problem in" in result.stderr
    found = rows(run(folder, "list", "--json"))
    assert [r["canary_percent"] for r in found] == [None, 2.5, None, None]
    assert "unknown key" in found[3]["problem"]
    assert found[3]["digest"] is None


def test_show(folder: Path) -> None:
    result = run(folder, "show", "market")
    assert "market@1  active" in result.stdout
    assert "[bold]may not[/bold]" in result.stdout, "what a policy says is not markup"
    assert "a gun, a rifle" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    (shown,) = rows(run(folder, "show", "market@3", "--json"))
    assert shown["categories"]["weapons"]["block"] == 0.8
    assert (shown["version"], shown["released"], len(shown["digest"])) == (3, False, 64)


def test_show_calibration_conditions_and_encoders(folder: Path) -> None:
    more = """\
  animals: {unsafe: [a cat, a dog], calibration: {kind: platt, slope: 1.5, offset: -1}, message: No pets.}
  both: {when: weapons and not animals, severity: high}
encoders:
- {id: "clip:x", revision: 0123456789abcdef, preprocessing: resize, categories: {animals: {block: never, review: 0.1}}}
"""
    write(folder, 3, TEXT.format(version=3) + more)
    lines = [" ".join(line.split()) for line in run(folder, "show", "market@3").stdout.splitlines()]
    assert {"message: No pets.", "severity: high", "on clip:x (revision 0123456789ab), resize"} <= {*lines}
    assert "animals softmax-sum, platt 1.5 -1 - 0.5 unsafe: a cat, a dog" in lines
    assert "both condition - 0.5 weapons and not animals" in lines
    assert "animals 0.5 - 0.1 never" in lines
    (shown,) = rows(run(folder, "show", "market@3", "--json"))
    assert shown["categories"]["both"]["when"] == "weapons and not animals"
    assert shown["encoders"][0]["categories"]["animals"]["block"] == "never"


ENCODERS = """\
encoders:
- {id: "clip:x", revision: 0123456789abcdef, preprocessing: resize, categories: {weapons: {block: 0.7, review: 0.4}}}
"""


@pytest.mark.parametrize("here", ["clip:x", "clip:y", None])
def test_a_version_of_another_encoder_is_not_activated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, here: str | None
) -> None:
    facts = None if here is None else (Identity(here, "0123456789abcdef", "resize"), 4)
    monkeypatch.setattr(policy_changes, "_encoder_facts", lambda: facts)
    write(folder, 3, TEXT.format(version=3) + ENCODERS)
    assert run(folder, "lint", "market@3").exit_code == 0
    assert run(folder, "release", "market@3").exit_code == 0
    result = run(folder, "activate", "market@3")
    assert result.exit_code == (1 if here == "clip:y" else 0)
    measured = "/3.yaml:7: error: encoders: the thresholds of market@3 were measured on clip:x (revision 0123456789ab)"
    assert (measured in result.stdout) is (here == "clip:y")


def test_lint_finds_nothing(folder: Path) -> None:
    result = run(folder, "lint")
    assert (result.exit_code, result.stdout) == (0, "3 valid versions: 0 errors, 0 warnings, 0 hints\n")
    assert run(folder, "lint", "--json").stdout == ""


def test_lint(folder: Path) -> None:
    write(folder, 3, TEXT.format(version=3).replace("a rifle", "a chair"))
    write(folder, 4, "x: y")
    result = run(folder, "lint")
    assert result.exit_code == 1
    assert f"{folder}/market/4.yaml:1: error: x: unknown key" in result.stdout
    assert (
        f"{folder}/market/3.yaml:6: error: categories.weapons.unsafe, item 2: 'a chair' is" in result.stdout
    )
    found = rows(run(folder, "lint", "market@3", "--json"))
    assert [(r["policy"], r["line"], r["severity"]) for r in found] == [("market@3", 6, "error")]
    assert run(folder, "lint", "market@2").exit_code == 0
    assert run(folder, "lint", "market@4").exit_code == 1


def test_lint_hints_do_not_fail(folder: Path) -> None:
    write(folder, 3, TEXT.format(version=3).replace(", a rifle", ""))
    result = run(folder, "lint", "market@3")
    assert result.exit_code == 0
    assert "1 valid version: 0 errors, 0 warnings, 1 hint" in result.stdout


def test_lint_sees_pointers_and_releases(folder: Path) -> None:
    write(folder, 1, TEXT.format(version=1).replace("0.8", "0.9"))
    (folder / "active.yaml").write_text("market: {active: 3}")
    result = run(folder, "lint", "market")
    assert result.exit_code == 1
    assert "market@1 was edited after its release" in result.stdout
    assert "market@3 is not released" in result.stdout
    (folder / "active.yaml").write_text("market: {activ: 3}\nother: 3\n")
    found = rows(run(folder, "lint", "market", "--json"))
    assert [r["key"] for r in found] == ["", "market.activ"]


def test_lint_where_nothing_is_valid(tmp_path: Path) -> None:
    write(tmp_path, 1, "x: y")
    result = run(tmp_path, "lint")
    assert result.exit_code == 1
    assert "market/1.yaml:1: error: x: unknown key" in result.stdout


def test_release(folder: Path) -> None:
    result = run(folder, "release", "market@3")
    assert "market@3 is released with the digest" in result.stdout
    assert "moderator policy activate market@3" in result.stdout
    assert rows(run(folder, "release", "market@3", "--json"))[0]["released"] is True
    write(folder, 3, TEXT.format(version=3).replace("0.8", "0.9"))
    assert isinstance(run(folder, "release", "market@3").exception, PolicyChanged)


def test_release_refuses_what_lint_calls_an_error(folder: Path) -> None:
    write(folder, 3, TEXT.format(version=3).replace("a rifle", "a chair"))
    result = run(folder, "release", "market@3")
    assert result.exit_code == 1
    assert "correct the errors first" in result.stderr
    assert "market@3" not in (folder / "releases.lock").read_text()


def commands(result: Result) -> list[str]:
    """What a command names as the next ones, without `moderator policy` and the folder."""
    found = re.findall(
        r"^(?:Next:|     ) moderator policy (.*?) --policies \S+ +# ", result.stdout, re.MULTILINE
    )
    assert found, result.stdout
    return found


def test_activate(folder: Path) -> None:
    result = run(folder, "activate", "market@2")
    assert result.stdout.startswith("market: version 2 is active (before: version 1)\nNext: ")
    assert commands(result) == ["rollback market", "new market --from market@2"]
    assert "which workers have it is not known" in result.stderr
    assert run(folder, "activate", "market@2").stdout.startswith("market: version 2 is active already\n")
    assert (folder / "active.yaml").read_text() == "market: {active: 2}\n"
    (facts,) = rows(run(folder, "activate", "market@1", "--json"))
    assert facts.pop("next")[0] == f"moderator policy rollback market --policies {folder}"
    assert facts == {
        "name": "market",
        "active": 1,
        "shadow": [],
        "canary": None,
        "previous": 2,
        "workers": None,
    }
    assert isinstance(run(folder, "activate", "market@3").exception, PolicyUnreleased)


def test_rollback(folder: Path) -> None:
    run(folder, "activate", "market@2")
    result = run(folder, "rollback", "market", "--expect", "2", "--reason", "too strict")
    assert result.stdout.startswith("market: version 1 is active (before: version 2)\n")
    assert commands(result) == ["log market", "new market --from market@2"]
    assert (folder / "active.yaml").read_text() == "market: {active: 1}\n"
    result = run(folder, "rollback", "market")
    assert isinstance(result.exception, PolicyNotFound)
    assert "moderator policy activate market@VERSION" in str(result.exception)


def test_a_version_is_tried_before_it_is_promoted(folder: Path) -> None:
    assert isinstance(run(folder, "promote", "market@2").exception, PolicyConflict)
    result = run(folder, "shadow", "market@2")
    assert "market: version 2 is a shadow" in result.stdout
    assert commands(result) == [
        "rollout market",
        "canary market@2 --percent 5",
        "promote market@2",
        "shadow market@2 --off",
    ]
    result = run(folder, "canary", "market@2", "--percent", "2.5")
    assert "version 2 decides for 2.5 % of the events, version 1 for the rest" in result.stdout
    assert commands(result) == ["rollout market", "promote market@2", "canary market@2 --off"]
    shown = rows(run(folder, "canary", "market@2", "--percent", "5", "--json"))[0]
    assert shown["canary"] == {"version": 2, "percent": 5.0}
    assert "no longer the canary" in run(folder, "canary", "market@2", "--off").stdout
    assert "not the canary" in run(folder, "canary", "market@2", "--off").stdout
    result = run(folder, "promote", "market@2", "--reason", "fewer false alarms")
    assert result.stdout.startswith("market: version 2 is active (before: version 1)\n")
    assert commands(result)[0] == "rollback market"
    run(folder, "shadow", "market@1")
    assert "no longer a shadow" in run(folder, "shadow", "market@1", "--off").stdout
    made = run(folder, "log").stdout
    assert "canary off" in made
    assert "shadow off" in made
    assert (folder / "active.yaml").read_text() == "market: {active: 2}\n"


def test_waiting_for_workers_that_nobody_can_ask_ends_with_1(folder: Path) -> None:
    assert run(folder, "activate", "market@2", "--wait", "1").exit_code == 1
    assert run(folder, "activate", "market@1", "--wait", "0").exit_code == 0
    assert (folder / "active.yaml").read_text() == "market: {active: 1}\n"


def test_a_change_under_another_assumption_is_refused(folder: Path) -> None:
    result = run(folder, "activate", "market@2", "--expect", "7")
    assert isinstance(result.exception, PolicyConflict)
    assert (folder / "active.yaml").read_text() == "market: {active: 1}\n"
    assert run(folder, "activate", "market@2", "--expect", "1").exit_code == 0


def test_log(folder: Path) -> None:
    run(folder, "activate", "market@2", "--reason", "[bold]fewer[/bold]\x1b[31m", "--actor", "anna")
    (folder / "active.yaml").write_text("market: {active: 1, shadow: [2]}\n")
    found = rows(run(folder, "log", "market", "--json"))
    assert [(r["action"], r["version"], r["state"]) for r in found] == [
        ("release", 1, "in force"),
        ("release", 2, "in force"),
        ("activate", 1, "replaced"),
        ("activate", 2, "replaced"),
        ("unrecorded", 1, "in force"),
    ]
    assert (found[3]["who"], found[3]["why"]) == ("anna", "[bold]fewer[/bold] [31m")
    assert (found[3]["from"]["active"], found[3]["to"]["active"], len(found[3]["digest"])) == (1, 2, 64)
    shown = run(folder, "log").stdout
    assert "[bold]fewer" in shown, "a reason is not markup"
    assert max(map(len, shown.splitlines())) <= 80
    assert run(folder, "log", "art", "--json").stdout == ""
    assert "no change is recorded" in run(folder, "log", "art").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("release", "market"),
        ("activate", "market"),
        ("rollback", "market@1"),
        ("shadow", "market"),
        ("promote", "market"),
        ("canary", "market@2"),
        ("canary", "market@2", "--off", "--percent", "5"),
        ("canary", "market@2", "--percent", "101"),
        ("log", "market@1"),
        ("show", "A b"),
        ("show",),
    ],
)
def test_wrong_usage(folder: Path, arguments: tuple[str, ...]) -> None:
    assert run(folder, *arguments).exit_code == 2


@pytest.mark.parametrize("command", ["show", "lint", "release", "activate"])
def test_unknown_policies(folder: Path, command: str) -> None:
    result = run(folder, command, "markt@1")
    assert isinstance(result.exception, PolicyNotFound)
    assert isinstance(run(folder, command, "market@9").exception, PolicyNotFound)


def test_broken_versions_say_why(folder: Path) -> None:
    write(folder, 4, "x: y")
    assert isinstance(run(folder, "show", "market@4").exception, PolicyInvalid)


SIGNAL = """\
name: market
version: {version}
signals: [{{name: bad, kind: hash-list, file: lists/bad.pdq, sha256: {digest}}}]
categories: {{known: {{signal: bad, review: 0.87, block: never}}}}
"""


def test_a_version_whose_signal_lacks_its_file_neither_lints_nor_goes_live(folder: Path) -> None:
    needs_extra("pdqhash", "hash")
    content = b"0f" * 32 + b"\n"
    write(folder, 4, SIGNAL.format(version=4, digest=sha256(content).hexdigest()))
    result = run(folder, "lint", "market@4")
    assert result.exit_code == 1
    assert "4.yaml:3: error: signals, item 1: 'bad' cannot be used here" in result.stdout
    assert "there is no file lists/bad.pdq" in result.stdout
    assert run(folder, "release", "market@4").exit_code == 1
    assert "market@4" not in (folder / "releases.lock").read_text()
    file = folder / "lists" / "bad.pdq"
    file.parent.mkdir()
    file.write_bytes(content)
    assert run(folder, "lint", "market@4").exit_code == 0
    assert run(folder, "release", "market@4").exit_code == 0
    file.unlink()
    result = run(folder, "activate", "market@4")
    assert result.exit_code == 1
    assert "market@4 does not go live" in result.stderr
    assert (folder / "active.yaml").read_text() == "market: {active: 1}\n"


def test_a_released_version_whose_file_is_gone(folder: Path) -> None:
    (folder / "market" / "2.yaml").unlink()
    result = run(folder, "lint")
    assert result.exit_code == 1
    assert f"{folder}/releases.lock:3: error: market@2: is released, and its file" in result.stdout
    assert "restore it (git restore)" in result.stdout
    assert run(folder, "lint", "market@1").exit_code == 0


def test_files_that_nothing_reads(folder: Path) -> None:
    (folder / "market" / "4.YAML").write_text("x")
    (folder / "market" / "3.yaml~").write_text("x")
    (folder / "market" / "4.yaml.bak").write_text("x")
    (folder / "shop.yaml").write_text("x")
    (folder / "notes").mkdir()
    (folder / "README.md").write_text("x")
    (folder / ".gitignore").write_text("x")
    found = {Path(r["file"]).name: (r["severity"], r["message"]) for r in rows(run(folder, "lint", "--json"))}
    assert {name: severity for name, (severity, _) in found.items()} == {
        "4.YAML": "error",
        "3.yaml~": "warning",
        "4.yaml.bak": "warning",
        "shop.yaml": "warning",
        "notes": "warning",
    }
    assert "rename it to 4.yaml" in found["4.YAML"][1]
    assert "NAME/VERSION.yaml" in found["shop.yaml"][1]
    assert "the folder holds no version" in found["notes"][1]
    assert "1 problem, 4 unread files" in run(folder, "list").stderr


def test_never_is_shown_as_it_is_written(folder: Path) -> None:
    write(folder, 4, TEXT.format(version=4).replace("block: 0.8", "block: never"))
    assert run(folder, "release", "market@4").exit_code == 0
    (shown,) = rows(run(folder, "show", "market@4", "--json"))
    assert (shown["categories"]["weapons"]["review"], shown["categories"]["weapons"]["block"]) == (
        0.45,
        "never",
    )
    assert "never" in run(folder, "show", "market@4").stdout
