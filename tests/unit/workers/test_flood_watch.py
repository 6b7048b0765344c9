"""The breaker in a worker: what is counted and diverted, without Redis."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError

from moderator import Decision, Settings
from moderator.engine.engine import Engine
from moderator.policies.schema import Policy
from moderator.queue.floods import FloodKey, Floods
from moderator.scoring.flood import BlockCounts, FloodRule
from moderator.testing.memory_queue import MemoryServer
from moderator.verdicts import CategoryVerdict, PolicyFacts, Verdict
from tests.support.colour_encoder import ColourEncoder, write_policies
from tests.support.policies import release
from workers.flood_watch import FloodWatch
from workers.worker_metrics import Metrics

RED = FloodKey("colours", "red")
RULE = FloodRule(ratio=5.0, blocks_min=20, history_min=100, learning_seconds=0.0, cooldown_seconds=0.0)
#: Version 4 excepts one of its categories.
WITH_LIST = """\
name: colours
version: 4
safe: [green, white]
categories:
  red: {unsafe: [red]}
  listed: {unsafe: [blue], flood: off}
"""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    folder = write_policies(tmp_path / "policies")
    (folder / "colours" / "4.yaml").write_text(WITH_LIST)
    release(folder, "colours", 4)
    settings = Settings(policies=folder, default_policy="colours", cache=tmp_path / "cache")
    return Engine(settings, encoder=ColourEncoder())


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def floods(server: MemoryServer) -> Floods:
    return Floods(server.executor, 0.0)


@pytest.fixture
def watch(engine: Engine, floods: Floods, metrics: Metrics) -> FloodWatch:
    return FloodWatch(floods, RULE, engine, metrics)


def verdict(version: int, decision: Decision = Decision.BLOCK, **categories: Decision) -> Verdict:
    return Verdict(
        event_id="e",
        source="shop",
        decision=decision,
        is_safe=decision is Decision.ALLOW,
        categories={
            name: CategoryVerdict(0.9, one) for name, one in (categories or {"red": decision}).items()
        },
        policy=PolicyFacts(name="colours", version=version, digest="d"),
    )


def policy(engine: Engine, version: int) -> Policy:
    return engine.catalogue.get("colours", version)


def record(floods: Floods) -> BlockCounts:
    return floods.read([RED]).floods[RED].record.window


def flooded(watch: FloodWatch) -> None:
    """Allow for a while, then block."""
    for decision, rounds in ((Decision.ALLOW, 50), (Decision.BLOCK, 4)):
        for _ in range(rounds):
            for _ in range(25):
                watch.count(verdict(1, decision))
            watch.refresh()


def gauge(metrics: Metrics, name: str, category: str = "red") -> float | None:
    return metrics.registry.get_sample_value(name, {"policy": "colours", "category": category})


def test_a_flood_is_diverted_and_says_so(watch: FloodWatch, engine: Engine, metrics: Metrics) -> None:
    watch.refresh()
    assert gauge(metrics, "moderation_flood_breaker_open") == 0
    assert gauge(metrics, "moderation_flood_diverted_total") == 0
    plain = verdict(1)
    assert watch.divert(plain, policy(engine, 1)) is plain
    flooded(watch)
    assert gauge(metrics, "moderation_flood_breaker_open") == 1
    diverted = watch.divert(verdict(1), policy(engine, 1))
    assert (diverted.decision, diverted.judged_decision, diverted.is_safe) == (
        Decision.REVIEW,
        Decision.BLOCK,
        False,
    )
    assert diverted.categories["red"].decision is Decision.BLOCK, "hidden"
    assert diverted.diverted is not None
    assert diverted.diverted.category == "red"
    assert "images were blocked" in diverted.diverted.reason
    watch.count(diverted)
    assert gauge(metrics, "moderation_flood_diverted_total") == 1
    allowed = verdict(1, Decision.ALLOW)
    assert watch.divert(allowed, policy(engine, 1)) is allowed


def test_what_is_diverted_still_counts_as_a_block(watch: FloodWatch, engine: Engine, floods: Floods) -> None:
    flooded(watch)
    before = record(floods)
    watch.count(watch.divert(verdict(1), policy(engine, 1)))
    watch.refresh()
    assert record(floods) == BlockCounts(before.images + 1, before.blocks + 1)


def test_a_block_by_an_excepted_or_another_category_stays(watch: FloodWatch, engine: Engine) -> None:
    flooded(watch)
    both = verdict(4, red=Decision.BLOCK, listed=Decision.BLOCK)
    assert watch.divert(both, policy(engine, 4)) is both
    alone = verdict(4, red=Decision.BLOCK, listed=Decision.REVIEW)
    assert watch.divert(alone, policy(engine, 4)).decision is Decision.REVIEW


def test_an_excepted_category_is_not_counted(watch: FloodWatch, floods: Floods) -> None:
    watch.count(verdict(4, red=Decision.ALLOW, listed=Decision.BLOCK))
    watch.refresh()
    assert floods.known() == [RED]


def test_a_new_version_is_compared_with_the_history_of_the_old(watch: FloodWatch, metrics: Metrics) -> None:
    for version, decision, rounds in ((1, Decision.ALLOW, 50), (3, Decision.BLOCK, 4)):
        for _ in range(rounds):
            for _ in range(25):
                watch.count(verdict(version, decision))
            watch.refresh()
    assert gauge(metrics, "moderation_flood_breaker_open") == 1


def test_once_it_is_calm_it_closes_by_itself(watch: FloodWatch, engine: Engine, metrics: Metrics) -> None:
    flooded(watch)
    for _ in range(30):
        for _ in range(25):
            watch.count(verdict(1, Decision.ALLOW))
        watch.refresh()
    assert gauge(metrics, "moderation_flood_breaker_open") == 0
    assert watch.divert(verdict(1), policy(engine, 1)).decision is Decision.BLOCK


def test_while_redis_is_away_counts_and_state_are_kept(
    watch: FloodWatch, engine: Engine, server: MemoryServer, floods: Floods
) -> None:
    flooded(watch)
    before = record(floods)
    watch.count(verdict(1))
    server.away = True
    for _ in range(2):
        with pytest.raises(RedisConnectionError):
            watch.refresh()
    watch.count(verdict(1))
    assert watch.divert(verdict(1), policy(engine, 1)).decision is Decision.REVIEW
    server.away = False
    watch.refresh()
    assert record(floods).images - before.images == 2


def test_another_worker_sees_the_state_at_its_first_look(
    watch: FloodWatch, engine: Engine, floods: Floods
) -> None:
    flooded(watch)
    other = FloodWatch(floods, RULE, engine, Metrics(CollectorRegistry()))
    assert other.divert(verdict(1), policy(engine, 1)).decision is Decision.BLOCK
    other.refresh()
    assert other.divert(verdict(1), policy(engine, 1)).decision is Decision.REVIEW


def test_what_no_policy_judged_is_not_counted(watch: FloodWatch, floods: Floods) -> None:
    for one in (
        Verdict(event_id="e", source="s", decision=Decision.ERROR, is_safe=False),
        verdict(9),
        Verdict(
            event_id="e",
            source="s",
            decision=Decision.ERROR,
            is_safe=False,
            policy=PolicyFacts(name="colours", version=1),
        ),
    ):
        watch.count(one)
    watch.refresh()
    assert record(floods) == BlockCounts()


def test_switched_off_it_does_nothing(engine: Engine, floods: Floods, metrics: Metrics) -> None:
    watch = FloodWatch(floods, None, engine, metrics)
    flooded(watch)
    assert (floods.known(), gauge(metrics, "moderation_flood_breaker_open")) == ([], None)
