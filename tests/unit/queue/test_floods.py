"""What the breaker counts and how its state changes, over a server in memory with a clock of its own."""

import json

import numpy as np
import pytest

from moderator.errors import FloodNotOpen
from moderator.queue import keys
from moderator.queue.commands import ask
from moderator.queue.floods import FloodKey, Floods
from moderator.scoring.flood import BlockCounts, FloodRule, FloodTurn, next_turn
from moderator.testing.memory_queue import MemoryServer

RULE = FloodRule(ratio=5.0, blocks_min=20, history_min=500, learning_seconds=3600.0, cooldown_seconds=300.0)
WEAPONS = FloodKey("marketplace", "weapons")


class Clocked:
    """A category of a server whose clock the test moves."""

    def __init__(self) -> None:
        self.now = 1e9
        self.server = MemoryServer(clock=lambda: self.now)
        self.floods = Floods(self.server.executor, 60.0)
        self.turns: list[FloodTurn] = []

    def step(self, images: int, blocks: int, seconds: float = 5.0) -> None:
        """Count, and do what a worker does."""
        self.now += seconds
        reading = self.floods.count({WEAPONS: (images, blocks)})
        flood = reading.floods[WEAPONS]
        turn = next_turn(flood.record, RULE, reading.now)
        if turn is not None and self.floods.turn(WEAPONS, flood, turn, "why"):
            self.turns.append(turn)

    def learned(self) -> "Clocked":
        for _ in range(720):
            self.step(100, 1)
        assert self.turns == []
        return self


@pytest.fixture(scope="module")
def learned() -> Clocked:
    return Clocked().learned()


def test_the_window_moves_and_what_leaves_it_is_history(learned: Clocked) -> None:
    record = learned.floods.read([WEAPONS]).floods[WEAPONS].record
    assert record.window == BlockCounts(1200, 12)
    assert record.history.images == pytest.approx(708 * 100, rel=0.01)
    assert record.history.rate == pytest.approx(0.01)
    assert record.peak == pytest.approx(0.01)


def test_where_few_images_come_the_window_is_longer() -> None:
    clocked = Clocked()
    for _ in range(400):
        clocked.step(1, 0, seconds=60.0)
    record = clocked.floods.read([WEAPONS]).floods[WEAPONS].record
    assert record.window.images == pytest.approx(300, abs=25)
    assert record.history.images + record.window.images == pytest.approx(400, rel=0.05)


def test_a_flood_opens_and_calm_closes_and_neither_is_history() -> None:
    clocked = Clocked().learned()
    before = clocked.floods.read([WEAPONS]).floods[WEAPONS].record.history
    for _ in range(30):
        clocked.step(100, 60)
    assert clocked.turns == [FloodTurn.OPEN]
    assert clocked.floods.read([WEAPONS]).floods[WEAPONS].record.reason == "why"
    for _ in range(80):
        clocked.step(100, 1)
    assert clocked.turns == [FloodTurn.OPEN, FloodTurn.CALM, FloodTurn.CLOSE]
    after = clocked.floods.read([WEAPONS]).floods[WEAPONS].record
    assert after.history.blocks - before.blocks < 60, "the flood became usual"
    assert after.opened_at is None
    assert [entry["change"] for entry in clocked.floods.log(10)] == ["close", "open"]


def test_closed_by_hand_it_opens_again_unless_the_rate_is_accepted() -> None:
    clocked = Clocked().learned()
    for _ in range(10):
        clocked.step(100, 60)
    clocked.floods.close(WEAPONS, RULE, "wrong alarm", "ann")
    with pytest.raises(FloodNotOpen, match="weapons in marketplace is closed"):
        clocked.floods.close(WEAPONS, RULE, "again", "ann")
    for _ in range(10):
        clocked.step(100, 60)
    assert clocked.turns == [FloodTurn.OPEN, FloodTurn.OPEN]
    clocked.floods.close(WEAPONS, RULE, "the new rule is right", "ann", accept=True)
    for _ in range(1000):
        clocked.step(100, 60)
    assert clocked.turns == [FloodTurn.OPEN, FloodTurn.OPEN]
    record = clocked.floods.read([WEAPONS]).floods[WEAPONS].record
    assert record.history.rate == pytest.approx(0.6)
    newest = clocked.floods.log(1)[0]
    assert (newest["change"], newest["by"], newest["reason"]) == ("accept", "ann", "the new rule is right")


def test_of_two_workers_one_changes_the_state(learned: Clocked) -> None:
    flood = learned.floods.read([WEAPONS]).floods[WEAPONS]
    done = [learned.floods.turn(WEAPONS, flood, FloodTurn.OPEN, "why") for _ in range(2)]
    assert done == [True, False]
    learned.floods.close(WEAPONS, RULE, "test", "ann")


def test_a_change_is_logged_with_its_reason(learned: Clocked) -> None:
    flood = learned.floods.read([WEAPONS]).floods[WEAPONS]
    assert learned.floods.turn(WEAPONS, flood, FloodTurn.OPEN, 'a "reason"')
    (entry,) = learned.floods.log(1)
    assert (entry["policy"], entry["category"], entry["change"]) == ("marketplace", "weapons", "open")
    assert (entry["by"], entry["reason"]) == ("", 'a "reason"')
    learned.floods.close(WEAPONS, RULE, "test", "ann")


def test_categories_are_listed_until_they_are_forgotten() -> None:
    clocked = Clocked()
    others = [FloodKey("p", f"c{n}") for n in range(250)]
    clocked.floods.count(dict.fromkeys([WEAPONS, *others], (1, 0)))
    assert clocked.floods.known() == sorted([WEAPONS, *others])
    clocked.now += 20 * 86_400
    clocked.floods.count({WEAPONS: (1, 0)})
    clocked.now += 20 * 86_400
    clocked.floods.read([])
    clocked.floods.count({WEAPONS: (0, 0)})
    assert clocked.floods.known() == [WEAPONS]
    size = clocked.server.executor.run(
        ask("HGET", keys.FLOOD_PREFIX + str(WEAPONS), "window", read=lambda text: len(json.dumps(str(text))))
    )
    assert size < 100


def test_normal_load_never_opens() -> None:
    """Rates that drift by half and swing with the day; benchmarks/flood.py has more of them."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        clocked = Clocked()
        usual, images, drift = 10 ** rng.uniform(-3.5, -0.7), 10 ** rng.uniform(0.5, 2.5), 0.0
        for step in range(1500):
            drift = 0.99 * drift + rng.normal(0, 0.04)
            n = rng.poisson(images)
            rate = min(0.9, usual * np.exp(drift + 0.35 * np.sin(step / 1440 * 6.28)))
            clocked.step(n, rng.binomial(n, rate), seconds=10.0)
        assert clocked.turns == [], seed


def test_a_rise_is_not_compared_with_itself() -> None:
    """Where few images come, a jump fills the window slowly."""
    clocked = Clocked()
    for step in range(2000):
        clocked.step(1, int(step % 20 == 0), seconds=20.0)
    assert clocked.turns == []
    for step in range(300):
        clocked.step(1, int(step % 5 < 3), seconds=20.0)
    assert clocked.turns == [FloodTurn.OPEN]
