"""The commands over a queue in memory."""

import json
from collections.abc import Iterator

import pytest
from click.testing import Result
from typer.testing import CliRunner

from moderator.cli import policy_floods
from moderator.cli.policy import app
from moderator.errors import FloodNotOpen
from moderator.queue.floods import FloodKey, Floods
from moderator.scoring.flood import FloodRule, FloodTurn
from moderator.testing.memory_queue import MemoryServer

RULE = FloodRule(ratio=5.0, blocks_min=20, history_min=500, learning_seconds=0.0, cooldown_seconds=300.0)
WEAPONS, DRUGS = FloodKey("market", "weapons"), FloodKey("market", "drugs")


@pytest.fixture
def floods(monkeypatch: pytest.MonkeyPatch) -> Iterator[Floods]:
    """Weapons are in flood, drugs are new."""
    store = Floods(MemoryServer().executor, 0.0)
    monkeypatch.setattr(policy_floods, "_open", lambda: (store, RULE))
    for _ in range(40):
        store.count({WEAPONS: (100, 1)})
    flood = store.count({WEAPONS: (100, 60), DRUGS: (30, 1)}).floods[WEAPONS]
    assert store.turn(WEAPONS, flood, FloodTurn.OPEN, "too many \x1b[31mof them")
    store.count({WEAPONS: (50, 30)})
    return store


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["floods", *arguments], env={"COLUMNS": "160"})


def test_open_ones_come_first_and_new_ones_learn(floods: Floods) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    heading, weapons, drugs = result.stdout.splitlines()[:3]
    assert heading.split() == ["policy", "category", "state", "lately", "usually", "since", "why"]
    assert weapons.split()[:9] == ["market", "weapons", "open", "60.0%", "of", "50", "1.0%", "of", "2900"]
    assert "\x1b" not in weapons
    assert drugs.split()[:8] == ["market", "drugs", "learning", "(0", "of", "500)", "3.3%", "of"]


def test_json_has_a_line_for_each(floods: Floods) -> None:
    weapons, drugs = (json.loads(line) for line in run("--json").stdout.splitlines())
    assert (weapons["state"], weapons["window"]) == ("open", {"images": 50, "blocks": 30})
    assert weapons["reason"] == "too many \x1b[31mof them"
    assert (drugs["state"], drugs["opened_at"], drugs["reason"]) == ("learning", None, None)
    assert drugs["history_needed"] == {"images": 500, "seconds": 0.0}


def test_closing_is_logged_with_who_and_why(floods: Floods) -> None:
    result = run("close", "market", "weapons", "--reason", "rolled back", "--actor", "ann")
    assert result.exit_code == 0, result.output
    assert "blocks of weapons are blocks again" in result.stdout
    assert "--accept" in result.stdout
    assert floods.read([WEAPONS]).floods[WEAPONS].record.opened_at is None
    newest, first = run("--log").stdout.splitlines()
    assert newest.endswith("market weapons: close by ann: rolled back")
    assert "open by the breaker: too many" in first
    assert json.loads(run("--log", "--json").stdout.splitlines()[0])["by"] == "ann"


def test_an_accepted_rate_becomes_the_history(floods: Floods) -> None:
    result = run("close", "market", "weapons", "--reason", "as meant", "--accept", "--json")
    assert json.loads(result.stdout)["accepted"] is True
    assert floods.read([WEAPONS]).floods[WEAPONS].record.history.rate == 0.6


@pytest.mark.parametrize("category", ["drugs", "unknown"])
def test_what_is_not_open_cannot_be_closed(floods: Floods, category: str) -> None:
    result = run("close", "market", category, "--reason", "x")
    assert isinstance(result.exception, FloodNotOpen)
    assert "is learning" in str(result.exception)


def test_nothing_counted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_floods, "_open", lambda: (Floods(MemoryServer().executor, 0.0), RULE))
    result = run()
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no worker has counted a verdict yet" in result.stderr
