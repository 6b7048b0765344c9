"""A bad version under a running worker: its blocks go to review within seconds, and blocks come back."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderator.client import Client
from moderator.errors import RedisMisused
from moderator.queue import keys
from moderator.queue.commands import ask
from moderator.queue.connection import connect
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.executors import Executor, RedisExecutor
from moderator.queue.floods import FloodKey, FloodReading, Floods
from moderator.scoring.flood import FloodTurn
from moderator.testing.memory_queue import MemoryServer
from moderator.verdicts import Decision, Verdict
from tests.integration.conftest import StartWorker
from tests.support.policies import activate, release
from tests.support.service import json_lines, make_client, run_cli, until

RED = FloodKey("sale", "red")
BLUE = FloodKey("sale", "blue")
#: Version 1 blocks nothing, version 2 everything.
POLICY = """\
name: sale
version: {version}
safe: [a chair, a landscape]
categories:
  red: {{unsafe: [a red panda], block: {block}}}
"""
SETTINGS = {
    "default_policy": "sale",
    "flood_window": "1.2",
    "flood_history": "200",
    "flood_learning": "0",
    "flood_cooldown": "0.3",
}


@pytest.fixture
def executor(shared_server: EmbeddedServer) -> Iterator[Executor]:
    with connect(shared_server.url.removesuffix("/0") + "/11") as client:
        client.flushdb()
        yield RedisExecutor(client)


def shown(reading: FloodReading) -> list[tuple[object, ...]]:
    """What does not depend on the clock."""
    return [
        (
            key,
            record.history,
            record.window,
            record.opened_at is None,
            record.calm_since is None,
            record.reason,
            turns,
        )
        for key, flood in reading.floods.items()
        for record, turns in [(flood.record, flood.turns)]
    ]


def test_a_server_and_memory_count_and_turn_alike(executor: Executor) -> None:
    """The parts of a window without a length end by images alone, at any clock."""
    places = [Floods(executor, 0.0), Floods(MemoryServer().executor, 0.0)]
    chosen = random.Random(5)
    for step in range(300):
        counts = {key: (n := chosen.randrange(20), chosen.randint(0, n)) for key in (RED, BLUE)}
        readings = [place.count(counts) for place in places]
        assert shown(readings[0]) == shown(readings[1]), step
        turn = chosen.choice(list(FloodTurn))
        old = step % 7 == 0
        if old:
            for place in places:
                place.turn(RED, readings[0].floods[RED], FloodTurn.OPEN, "first")
        turned = [
            place.turn(RED, one.floods[RED], turn, "why", "ann")
            for place, one in zip(places, readings, strict=True)
        ]
        assert turned[0] == turned[1], (step, turn)
    assert places[0].known() == places[1].known() == [BLUE, RED]
    logs = [[entry | {"at": ""} for entry in place.log(1000)] for place in places]
    assert logs[0] == logs[1] != []
    ends = executor.run(ask("TTL", keys.FLOOD_PREFIX + str(RED)))
    assert 0 < ends <= 30 * 86_400


def test_what_somebody_else_wrote_there_is_an_error(executor: Executor) -> None:
    executor.run(ask("SET", keys.FLOOD_PREFIX + str(RED), "mine", read=str))
    with pytest.raises(RedisMisused, match="holds a string"):
        Floods(executor, 0.0).read([RED])


def judge(client: Client, image: Path, count: int) -> list[Verdict]:
    events = [client.submit(path=image, policy="sale") for _ in range(count)]
    return [client.wait(event.id, timeout=30) for event in events]


@pytest.mark.slow
def test_a_bad_version_cannot_block_everything(
    module_server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    (folder / "sale").mkdir(parents=True)
    for version, block in ((1, "never"), (2, "0.000001")):
        (folder / "sale" / f"{version}.yaml").write_text(POLICY.format(version=version, block=block))
        release(folder, "sale", version)
    activate(folder, "sale", 1)

    def others_allow(rounds: int) -> None:
        """Count what other workers would have allowed, as if time had passed."""
        with connect(module_server.url) as redis:
            for _ in range(rounds):
                Floods(RedisExecutor(redis), 0.0).count({RED: (25, 0)})

    others_allow(25)
    worker = start_worker(module_server.url, policies=str(folder), **SETTINGS)
    client, image = make_client(module_server.url), small_images[0]
    is_open = "moderation_flood_breaker_open{category=red,policy=sale}"

    def flood() -> float:
        """Activate the bad version; seconds until a block is diverted."""
        activate(folder, "sale", 2)
        start = time.monotonic()
        until(lambda: any(one.diverted for one in judge(client, image, 10)), 60, "a diverted block")
        return time.monotonic() - start

    assert {one.decision for one in judge(client, image, 5)} == {Decision.ALLOW}
    until(lambda: worker.metrics().get(is_open) == 0)
    assert flood() < 30
    (verdict,) = judge(client, image, 1)
    assert (verdict.decision, verdict.is_safe) == (Decision.REVIEW, False)
    assert verdict.categories["red"].decision is Decision.BLOCK
    assert verdict.diverted is not None
    assert verdict.diverted.category == "red"
    assert worker.metrics()[is_open] == 1
    assert worker.metrics()["moderation_flood_diverted_total{category=red,policy=sale}"] >= 1
    assert "flood breaker: category red of sale: its blocks go to review now" in worker.log

    # The way back: the rate is calm again, and the breaker closes by itself.
    activate(folder, "sale", 1)
    until(lambda: judge(client, image, 1)[0].decision is Decision.ALLOW)

    def closes() -> bool:
        others_allow(1)  # a worker may still count blocks of the flood: other images go on meanwhile
        return worker.metrics()[is_open] == 0

    until(closes)
    assert flood() < 30

    # The blocks are right after all.
    command = (
        "policy",
        "floods",
        "close",
        "sale",
        "red",
        "--reason",
        "as meant",
        "--accept",
        "--actor",
        "ann",
        "--json",
    )
    closed = run_cli(*command, cwd=tmp_path, redis_url=module_server.url, **SETTINGS)
    assert closed.returncode == 0, closed.stderr
    assert json_lines(closed.stdout)[0]["closed"] is True
    until(lambda: judge(client, image, 1)[0].decision is Decision.BLOCK)
    with connect(module_server.url) as redis:
        log = Floods(RedisExecutor(redis), 0.0).log(10)
    assert [entry["change"] for entry in log] == ["accept", "open", "close", "open"]
    assert (log[0]["by"], log[0]["reason"]) == ("ann", "as meant")
    assert worker.stop() == 0, worker.log
