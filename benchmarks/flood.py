"""Measure the flood breaker: false alarms on traffic that drifts, how soon a jump opens it, and its cost per verdict.

Traffic is simulated over the queue in memory with a clock of its own, with the settings' defaults. Normal traffic: a
usual rate of blocks from 0.01 to 30 %, whose odds drift (log-normal, ten minutes long) and swing by a third with the
day. A jump: after two hours the version changes, and 60 % of the images are blocked.

    python benchmarks/flood.py [--seeds 40] [--hours 12] [--drift 0.3]

The last line is JSON. `false_alarms`: runs of normal traffic in which it opened. `seconds`, `blocked`: medians until it
opened, by images a second and usual rate. `microseconds`: to divert and count a verdict of eight categories that
allows, and one that all of them block.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from moderator.policies.schema import Policy
from moderator.queue.floods import FloodKey, Floods, flood_rule
from moderator.scoring.flood import FloodTurn, next_turn
from moderator.settings import FloodSettings
from moderator.testing.memory_queue import MemoryServer
from moderator.verdicts import CategoryVerdict, Decision, PolicyFacts, Verdict
from workers.flood_watch import FloodWatch

KEY = FloodKey("market", "weapons")
SETTINGS = FloodSettings()
DRIFT_SECONDS, SWING = 600.0, 0.35
JUMP_RATE = 0.6
JUMP_AFTER_SECONDS = 7200.0
VERDICTS = 20_000


class Simulation:
    """One category and one worker. Rates are functions of the seconds since the start."""

    def __init__(self, seed: int, images_a_second: float, rate: Callable[[float], float]) -> None:
        self.random = np.random.default_rng(seed)
        self.now = 0.0
        self._images, self._rate = images_a_second, rate
        server = MemoryServer(clock=lambda: 1e9 + self.now)
        self._floods, self._rule = Floods(server.executor, SETTINGS.flood_window), flood_rule(SETTINGS)

    def step(self, seconds: float) -> tuple[int, FloodTurn | None]:
        """Return the blocks of some seconds, and what the breaker did then."""
        self.now += seconds
        images = int(self.random.poisson(self._images * seconds))
        blocks = int(self.random.binomial(images, self._rate(self.now)))
        reading = self._floods.count({KEY: (images, blocks)})
        flood = reading.floods[KEY]
        turn = next_turn(flood.record, self._rule, reading.now)
        if turn is not None:
            self._floods.turn(KEY, flood, turn)
        return blocks, turn


def opens_on_normal(seed: int, hours: float, drift: float) -> bool:
    """Return whether the breaker opens although nothing jumps."""
    random = np.random.default_rng(seed)
    usual, images = 10 ** random.uniform(-4, np.log10(0.3)), 10 ** random.uniform(-1.5, 2)
    state = 0.0
    step = 5.0

    def rate(now: float) -> float:
        nonlocal state
        keeps = np.exp(-step / DRIFT_SECONDS)
        state = state * keeps + random.normal(0, drift * np.sqrt(1 - keeps**2))
        odds = usual / (1 - usual) * np.exp(state + SWING * np.sin(now / 86_400 * 2 * np.pi))
        return float(odds / (1 + odds))

    simulation = Simulation(seed, images, rate)
    return any(simulation.step(step)[1] is FloodTurn.OPEN for _ in range(int(hours * 3600 / step)))


def until_open(seed: int, images: float, usual: float) -> tuple[float, int]:
    """Return the seconds, and the published blocks, from a jump until the breaker opens."""
    after = max(JUMP_AFTER_SECONDS, 1500 / images)
    simulation = Simulation(seed, images, lambda now: usual if now <= after else JUMP_RATE)
    while simulation.now < after:
        simulation.step(max(1.0, 0.5 / images))
    blocked = 0
    while simulation.now < after + 100_000:
        blocks, turn = simulation.step(1.0)
        blocked += blocks
        if turn is FloodTurn.OPEN:
            return simulation.now - after, blocked
    raise AssertionError(f"{images:g} images a second, usually {usual:.2%}: it never opened")


def cost(decision: Decision) -> float:
    """Return the microseconds of a verdict with eight categories, while another category is in flood."""
    names = [f"category-{n}" for n in range(8)]
    policy = Policy.model_validate(
        {
            "name": "market",
            "version": 1,
            "safe": ["a chair"],
            "categories": {name: {"unsafe": [f"a {name}"]} for name in names},
        }
    )

    class Loaded:
        """An engine, as far as the breaker knows it."""

        class catalogue:  # noqa: N801
            class snapshot:  # noqa: N801
                policies = {("market", 1): policy}  # noqa: RUF012

    watch = FloodWatch(Floods(MemoryServer().executor, 60.0), flood_rule(SETTINGS), Loaded, None)  # type: ignore[arg-type]
    watch._open = {FloodKey("market", names[0]): "why"}
    categories = {name: CategoryVerdict(0.9, decision) for name in names}
    verdict = Verdict(
        event_id="e",
        source="shop",
        decision=decision,
        is_safe=False,
        categories=categories,
        policy=PolicyFacts(name="market", version=1, digest="d"),
    )
    best = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(VERDICTS):
            watch.count(watch.divert(verdict, policy))
        best.append((time.perf_counter() - start) / VERDICTS * 1e6)
    return min(best)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--hours", type=float, default=12.0)
    parser.add_argument("--drift", type=float, default=0.3, help="standard deviation of the log-odds")
    given = parser.parse_args()
    alarms = sum(opens_on_normal(seed, given.hours, given.drift) for seed in range(given.seeds))
    print(
        f"normal traffic: it opened in {alarms} of {given.seeds} runs of {given.hours:g} hours, drift {given.drift:g}"
    )
    print("images a second, usual rate: seconds and blocks until it opened")
    jumps = []
    for images in (0.05, 0.5, 5.0, 50.0):
        for usual in (0.0005, 0.01, 0.05):
            found = [until_open(seed, images, usual) for seed in range(3)]
            seconds, blocked = (median(one[side] for one in found) for side in (0, 1))
            jumps.append({"images_a_second": images, "usual": usual, "seconds": seconds, "blocked": blocked})
            print(f"{images:6g} {usual:8.2%} {seconds:8.0f} s {blocked:6.0f}")
    allowed, blocks = cost(Decision.ALLOW), cost(Decision.BLOCK)
    print(
        f"to divert and count a verdict of eight categories: {allowed:.1f} us, that all block: {blocks:.1f} us"
    )
    print(
        json.dumps(
            {
                "runs": given.seeds,
                "hours": given.hours,
                "false_alarms": alarms,
                "jumps": jumps,
                "drift": given.drift,
                "microseconds": [round(allowed, 2), round(blocks, 2)],
            }
        )
    )


if __name__ == "__main__":
    main()
