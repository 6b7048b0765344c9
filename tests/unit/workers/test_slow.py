"""Slow signals: what uses them waits in places of its own, and nothing else does."""

import base64
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from moderator import Decision, Settings
from moderator.engine.engine import Engine
from moderator.events import Event, Priority
from moderator.fetching.fetcher import Fetcher
from moderator.queue.evidence import as_kept
from moderator.queue.ledger import Claim
from moderator.signals.signal import Frame, SignalResult
from tests.support.canned_ledger import CannedLedger
from tests.support.colour_encoder import ColourEncoder, picture
from tests.support.fake_signals import Slow, Whole, installed
from tests.support.policies import release
from workers.attempt import SHADOW_WAIT_MAX_SECONDS
from workers.batcher import MicroBatcher
from workers.model_watch import ModelWatch
from workers.pipeline import Pipeline
from workers.priority import PriorityGate
from workers.slow import SlowLane
from workers.worker_metrics import Metrics

PLAIN = "name: {name}\nversion: {version}\nsafe: [green]\ncategories:\n  red: {{unsafe: [red]}}\n"
WITH_SIGNAL = PLAIN + "  s: {{signal: s}}\nsignals: [{{name: s, kind: {kind}}}]\n"
DECODERS = 2


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with installed(monkeypatch):
        yield


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    folder = tmp_path / "policies"
    versions = {"plain": [PLAIN], "reads": [WITH_SIGNAL], "shadowed": [PLAIN, WITH_SIGNAL]}
    for name, texts in versions.items():
        (folder / name).mkdir(parents=True)
        for version, text in enumerate(texts, 1):
            (folder / name / f"{version}.yaml").write_text(
                text.format(name=name, version=version, kind="slow")
            )
            release(folder, name, version)
    (folder / "active.yaml").write_text(
        "plain: {active: 1}\nreads: {active: 1}\nshadowed: {active: 1, shadow: [2]}\n"
    )
    settings = Settings(policies=folder, default_policy="plain", cache=tmp_path / "cache", max_attempts=3)
    return Engine(settings, encoder=ColourEncoder())


@pytest.fixture
def fetcher(engine: Engine) -> Fetcher:
    return Fetcher.from_settings(engine.settings)


@pytest.fixture
def ledger() -> CannedLedger:
    return CannedLedger()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def pipeline(engine: Engine, fetcher: Fetcher, ledger: CannedLedger, metrics: Metrics) -> Iterator[Pipeline]:
    batcher = MicroBatcher(engine.encoder.embed_images, 4)
    pipeline = Pipeline(engine, fetcher, batcher, ledger, metrics, DECODERS, PriorityGate())
    yield pipeline
    batcher.stop()
    pipeline.close()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flag]:
    """Slow signals wait for it."""
    gate = Flag()

    def read(_: Whole, __: Frame) -> SignalResult:
        assert gate.wait(30)
        return SignalResult(0.0)

    monkeypatch.setattr(Slow, "read", read)
    yield gate
    gate.set()


def event(id: str, policy: str, **fields: Any) -> Event:
    inline = base64.b64encode(picture("green")).decode()
    return Event.model_validate({"id": id, "policy": policy, "image": {"inline": inline}, **fields})


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_does_not_read_slowly_does_not_wait(
    pipeline: Pipeline, ledger: CannedLedger, gate: Flag
) -> None:
    """Also not for a thread: an event that finds no place is given back at once."""
    with ThreadPoolExecutor(8) as threads:
        slow = [threads.submit(pipeline.process, [event(f"slow-{n}", "reads")]) for n in range(50)]
        until(lambda: len(ledger.retries) == 50 - 2 * DECODERS)
        assert not any(ledger.counted)
        assert min(ledger.retries) > 0
        start = time.monotonic()
        quick = [threads.submit(pipeline.process, [event(f"quick-{n}", "plain")]) for n in range(20)]
        for future in quick:
            future.result(10)
        assert time.monotonic() - start < 5
        assert sorted(v.event_id for v, _ in ledger.published) == sorted(f"quick-{n}" for n in range(20))
        gate.set()
        for future in slow:
            future.result(10)
    assert len(ledger.published) == 20 + 2 * DECODERS
    assert {verdict.decision for verdict, _ in ledger.published} == {Decision.ALLOW}


def test_what_reads_slowly_is_of_a_bulk_message_no_longer(
    pipeline: Pipeline, ledger: CannedLedger, gate: Flag
) -> None:
    group = [event(f"{n}", policy, priority="bulk") for n, policy in enumerate(["plain", "reads", "plain"])]
    pipeline.process(group)
    assert [verdict.event_id for verdict, _ in ledger.published] == ["0", "2"]
    assert (ledger.retries, ledger.counted) == ([0.0], [False])


def test_images_wait_for_slow_signals_before_they_are_fetched(
    pipeline: Pipeline,
    engine: Engine,
    fetcher: Fetcher,
    ledger: CannedLedger,
    gate: Flag,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetched: list[str] = []
    fetch = fetcher.fetch
    monkeypatch.setattr(fetcher, "fetch", lambda image: fetched.append("one") or fetch(image))
    threads = [Thread(target=pipeline.process, args=([event(f"{n}", "reads")],)) for n in range(2 * DECODERS)]
    for thread in threads:
        thread.start()
    until(lambda: len(fetched) == DECODERS)
    time.sleep(0.1)
    assert len(fetched) == DECODERS
    gate.set()
    for thread in threads:
        thread.join(10)
    assert len(ledger.published) == 2 * DECODERS


def test_the_time_of_slow_signals_is_a_stage_of_its_own(
    pipeline: Pipeline, ledger: CannedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: Whole, __: Frame) -> SignalResult:
        time.sleep(0.2)
        return SignalResult(0.9)

    monkeypatch.setattr(Slow, "read", read)
    pipeline.process([event("a", "reads")])
    ((verdict, _),) = ledger.published
    assert (verdict.decision, verdict.signals["s"]["score"]) == (Decision.BLOCK, 0.9)
    assert verdict.timings_ms["signals"] >= 200 > verdict.timings_ms["decode"]


def test_a_verdict_waits_for_its_shadows_for_so_long(
    pipeline: Pipeline, ledger: CannedLedger, gate: Flag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.attempt.SHADOW_WAIT_MAX_SECONDS", 0.2)
    assert SHADOW_WAIT_MAX_SECONDS <= 5
    start = time.monotonic()
    threads = [Thread(target=pipeline.process, args=([event(f"{n}", "shadowed")],)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - start < 3
    verdicts = [verdict for verdict, _ in ledger.published]
    assert len(verdicts) == 12
    assert {verdict.decision for verdict in verdicts} == {Decision.ALLOW}
    errors = [shadow.error.type for verdict in verdicts for shadow in verdict.shadow]
    assert set(errors) == {"SignalTimeout", "SignalBusy"}
    assert ledger.retries == []
    gate.set()

    def again() -> bool:
        pipeline.process([event("again", "shadowed")])
        return ledger.published[-1][0].shadow[0].error is None

    until(again)


def test_a_failed_verdict_names_the_policy_that_was_asked_for(
    pipeline: Pipeline, ledger: CannedLedger, metrics: Metrics
) -> None:
    bad = {"inline": base64.b64encode(b"text").decode()}
    for policy in ("plain", "reads@1", "plain@7", "nonsense", "../../etc", None):
        pipeline.process([event("e", "plain", image=bad).model_copy(update={"policy": policy})])
    facts = [
        verdict.policy and (verdict.policy.name, verdict.policy.version) for verdict, _ in ledger.published
    ]
    assert facts == [("plain", 1), ("reads", 1), ("plain", None), None, None, ("plain", 1)]
    assert {verdict.decision for verdict, _ in ledger.published} == {Decision.ERROR}
    sample = metrics.registry.get_sample_value
    counted = {
        policy: sample("moderation_events_total", {"policy": policy, "decision": "error"})
        for policy in ("plain", "reads", "unknown")
    }
    assert counted == {"plain": 3, "reads": 1, "unknown": 2}
    assert sample("moderation_events_total", {"policy": "nonsense", "decision": "error"}) is None


@pytest.mark.parametrize(
    ("consumers", "kept"), [((), False), (("audit",), False), (("audit", "archive:embedding"), True)]
)
def test_what_a_verdict_was_made_from_is_kept_where_a_consumer_wants_it(
    engine: Engine,
    fetcher: Fetcher,
    ledger: CannedLedger,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
    consumers: tuple[str, ...],
    kept: bool,
) -> None:
    monkeypatch.setattr(Slow, "read", lambda self, frame: SignalResult(0.25, {"why": "x"}))
    engine.settings = engine.settings.model_copy(update={"outbox_consumers": consumers})
    batcher = MicroBatcher(engine.encoder.embed_images, 4)
    pipeline = Pipeline(engine, fetcher, batcher, ledger, metrics, DECODERS, PriorityGate())
    bad = {"inline": base64.b64encode(b"text").decode()}
    for policy in ("plain", "reads", "shadowed"):
        pipeline.process([event(policy, policy)])
    pipeline.process([event("broken", "plain", image=bad)])
    batcher.stop()
    pipeline.close()

    *judged, broken = ledger.evidence
    assert broken is None
    assert [evidence is not None for evidence in judged] == [kept] * 3
    found = [evidence for evidence in judged if evidence is not None]
    for evidence, (verdict, _) in zip(found, ledger.published, strict=False):
        assert evidence.model == verdict.model
        pixels = engine.preparer.prepare(picture("green")).pixels
        np.testing.assert_array_equal(evidence.embeddings, as_kept(engine.encoder.embed_images(pixels)))
    (spec,) = engine.resolver.select("reads", "").decides.signals
    reading = {"score": 0.25, "unsure": False, "facts": {"why": "x"}}
    expected = [{}, {spec.key: reading}, {spec.key: reading}]  # a shadow's as well
    assert [evidence.readings for evidence in found] == (expected if kept else [])


def test_events_wait_for_a_model_that_is_broken(
    engine: Engine, fetcher: Fetcher, ledger: CannedLedger, metrics: Metrics
) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("CUDA error")

    watch = ModelWatch(engine.encoder.embed_images, engine.encoder.image_size)
    watch.learn()
    watch._embed = broken
    batcher = MicroBatcher(broken, 4, watch=watch)
    pipeline = Pipeline(engine, fetcher, batcher, ledger, metrics, DECODERS, PriorityGate())
    ledger.answer = Claim(attempt=3, waited=0)  # the last
    pipeline.process([event("a", "plain")])
    assert (ledger.given_back, ledger.retries, ledger.published) == (["moderator:a"], [], [])
    claims: list[object] = []
    ledger.claim = claims.append  # type: ignore[assignment]
    with pytest.raises(Exception, match="known inputs"):
        pipeline.process([event("b", "plain")])
    assert claims == [], "it may cost no try, so it is not even claimed"
    batcher.stop()
    pipeline.close()


def test_a_lane_has_so_many_places_and_bulk_does_not_wait() -> None:
    lane = SlowLane(2, "lane")
    interactive, bulk = Priority.INTERACTIVE, Priority.BULK
    assert [lane.enter(bulk) for _ in range(3)] == [True, True, False]
    assert [lane.enter(interactive) for _ in range(3)] == [True, True, False]
    for _ in range(4):
        lane.leave()
    assert lane.enter(bulk)
    assert lane.run(lambda: 7) == 7
    lane.close()
