import base64
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Thread
from typing import Any, Literal

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from moderator import Decision, Moderator, Settings
from moderator.engine.engine import Engine
from moderator.engine.preparer import Prepared
from moderator.errors import (
    DecoderCrashed,
    DecodeTimeout,
    FetchFailed,
    HostUnavailable,
    ModeratorError,
    RedisMisused,
)
from moderator.events import Event, ImageReference, Priority
from moderator.fetching.fetcher import Fetcher
from moderator.policies.catalogue import Selection
from moderator.queue.evidence import Evidence
from moderator.queue.ledger import Claim, DeadLetterReason
from moderator.scoring.thresholds import judge
from tests.support.canned_ledger import CannedLedger
from tests.support.colour_encoder import ColourEncoder, picture, write_policies
from tests.support.policies import release
from tests.support.tools import needs_extra
from workers.batcher import MicroBatcher
from workers.leases import Leases
from workers.pipeline import Pipeline
from workers.priority import PriorityGate
from workers.retries import DEPLOYMENT_MAX_SECONDS, MAX_LOSSES, RETRY_DELAY_MAX_SECONDS
from workers.worker_metrics import Metrics


@pytest.fixture
def ledger() -> CannedLedger:
    return CannedLedger()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    settings = Settings(
        policies=write_policies(tmp_path / "policies"),
        default_policy="colours",
        cache=tmp_path / "cache",
        max_attempts=3,
        retry_delay=2.0,
    )
    return Engine(settings, encoder=ColourEncoder())


@pytest.fixture
def fetcher(engine: Engine) -> Fetcher:
    return Fetcher.from_settings(engine.settings)


@pytest.fixture
def batcher(engine: Engine) -> Iterator[MicroBatcher]:
    batcher = MicroBatcher(engine.encoder.embed_images, 4)
    yield batcher
    batcher.stop()


@pytest.fixture
def gate() -> PriorityGate:
    return PriorityGate()


@pytest.fixture
def pipeline(
    engine: Engine,
    batcher: MicroBatcher,
    ledger: CannedLedger,
    metrics: Metrics,
    gate: PriorityGate,
    fetcher: Fetcher,
) -> Pipeline:
    return Pipeline(engine, fetcher, batcher, ledger, metrics, 2, gate)


def event(data: bytes | None = None, **fields: Any) -> Event:
    inline = base64.b64encode(picture("red") if data is None else data).decode()
    return Event.model_validate({"id": "e", "source": "shop", "image": {"inline": inline}, **fields})


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def redeliveries(metrics: Metrics) -> float | None:
    return value(metrics, "moderation_redeliveries_total")


def failures(metrics: Metrics, stage: str, error: str) -> float | None:
    return value(metrics, "moderation_failures_total", stage=stage, error=error)


def test_a_verdict_rests_on_the_embedding_that_is_archived(
    engine: Engine,
    batcher: MicroBatcher,
    ledger: CannedLedger,
    metrics: Metrics,
    gate: PriorityGate,
    fetcher: Fetcher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = engine.settings.model_copy(update={"archive_url": "sqlite:///archive.sqlite3"})
    monkeypatch.setattr(engine, "settings", settings)
    pipeline = Pipeline(engine, fetcher, batcher, ledger, metrics, 2, gate)
    pipeline.process([event(picture("#b4283c"))])
    ((verdict, _),) = ledger.published
    (kept,) = ledger.evidence
    assert kept is not None
    rows = Evidence.from_fields(*kept.to_fields()).embeddings.astype(np.float32)
    compiled = engine.compiler.compile(engine.catalogue.get("colours", 1))
    assert judge(compiled, rows).unsafe_score == verdict.unsafe_score
    exact = engine.embed(engine.preparer.prepare(picture("#b4283c"), Selection(compiled.policy)).pixels)
    assert judge(compiled, exact).unsafe_score != verdict.unsafe_score, "or this shows nothing"


def test_an_event_gets_its_verdict(pipeline: Pipeline, ledger: CannedLedger, metrics: Metrics) -> None:
    pipeline.process([event(metadata={"user": 7})])
    ((verdict, dead),) = ledger.published
    assert dead is None
    assert (verdict.event_id, verdict.source, verdict.metadata) == ("e", "shop", {"user": 7})
    assert (verdict.decision, verdict.policy.name, len(verdict.shadow)) == (Decision.BLOCK, "colours", 1)
    assert list(verdict.timings_ms) == ["queue", "fetch", "decode", "embed", "batch_wait", "score"]
    assert verdict.timings_ms["queue"] == 250
    assert ledger.arguments == {"ttl": 7 * 86400, "stream_length": 300_000}
    assert ledger.retries == []
    assert value(metrics, "moderation_events_total", policy="colours", decision="block") == 1
    assert value(metrics, "moderation_duration_seconds_sum") == 1.5
    assert value(metrics, "moderation_stage_duration_seconds_count", stage="publish") == 1
    assert redeliveries(metrics) == 0


@pytest.mark.parametrize("answer", ["answered", "busy"])
def test_a_second_delivery_does_nothing(
    pipeline: Pipeline, ledger: CannedLedger, metrics: Metrics, answer: Literal["answered", "busy"]
) -> None:
    ledger.answer = answer
    pipeline.process([event()])
    assert (ledger.published, ledger.retries, redeliveries(metrics)) == ([], [], 1)


def test_a_further_try_is_a_redelivery(pipeline: Pipeline, ledger: CannedLedger, metrics: Metrics) -> None:
    ledger.answer = Claim(attempt=2, waited=0)
    pipeline.process([event()])
    assert redeliveries(metrics) == 1
    assert len(ledger.published) == 1


def test_a_verdict_that_came_second_is_not_counted(
    pipeline: Pipeline, ledger: CannedLedger, metrics: Metrics
) -> None:
    ledger.duration = None
    pipeline.process([event()])
    assert redeliveries(metrics) == 1
    assert value(metrics, "moderation_duration_seconds_count") == 0


@pytest.mark.parametrize(
    ("fields", "stage", "error"),
    [
        ({"data": b"text"}, "decode", "NotAnImage"),
        ({"data": picture("red")[:45]}, "decode", "ImageBroken"),
        ({"image": {"path": "/etc/hostname"}}, "fetch", "FetchRefused"),
        ({"policy": "nonsense"}, "score", "PolicyNotFound"),
    ],
)
def test_what_cannot_pass_becomes_a_dead_letter(
    pipeline: Pipeline, ledger: CannedLedger, metrics: Metrics, fields: dict[str, Any], stage: str, error: str
) -> None:
    pipeline.process([event(**fields)])
    ((verdict, dead),) = ledger.published
    assert (verdict.decision, verdict.is_safe, verdict.error.type) == (Decision.ERROR, False, error)
    assert dead == DeadLetterReason(error, verdict.error.message)
    assert failures(metrics, stage, error) == 1
    assert ledger.retries == []


def waits(longest: float) -> Any:
    """Equal to a wait with jitter: between three quarters of `longest` and all of it."""
    return pytest.approx(longest * 0.875, rel=1 / 7)


def failing(error: Exception) -> Any:
    def fetch(reference: ImageReference) -> bytes:
        raise error

    return fetch


@pytest.mark.parametrize(("attempt", "delay"), [(1, 2.0), (2, 4.0)])
def test_what_may_pass_is_tried_again_later(
    pipeline: Pipeline,
    ledger: CannedLedger,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
    attempt: int,
    delay: float,
    fetcher: Fetcher,
) -> None:
    monkeypatch.setattr(fetcher, "fetch", failing(FetchFailed("503")))
    ledger.answer = Claim(attempt=attempt, waited=0)
    pipeline.process([event()])
    assert ledger.retries == [waits(delay)]
    assert (ledger.counted, ledger.held_off, ledger.published) == ([True], [False], [])
    assert failures(metrics, "fetch", "FetchFailed") == 1


@pytest.mark.parametrize(
    ("held_off", "delay"), [(0.0, 20 / 0.75), (100.0, 100.0), (1000.0, RETRY_DELAY_MAX_SECONDS)]
)
def test_a_host_that_is_left_alone_costs_no_try(
    pipeline: Pipeline,
    ledger: CannedLedger,
    monkeypatch: pytest.MonkeyPatch,
    held_off: float,
    delay: float,
    fetcher: Fetcher,
) -> None:
    """However long it waited for a worker before."""
    monkeypatch.setattr(fetcher, "fetch", failing(HostUnavailable("down", 20.0)))
    ledger.answer = Claim(attempt=3, waited=1e6, held_off=held_off)
    pipeline.process([event()])
    assert ledger.retries == [waits(delay)]
    assert (ledger.counted, ledger.held_off, ledger.published) == ([False], [True], [])


def test_patience_with_a_host_has_an_end(
    pipeline: Pipeline,
    engine: Engine,
    ledger: CannedLedger,
    monkeypatch: pytest.MonkeyPatch,
    fetcher: Fetcher,
) -> None:
    monkeypatch.setattr(fetcher, "fetch", failing(HostUnavailable("down", 20.0)))
    ledger.answer = Claim(attempt=2, waited=1e6, held_off=engine.settings.host_patience)
    pipeline.process([event()])
    assert (ledger.counted, ledger.held_off) == ([True], [True]), "and does not begin again"
    ledger.answer = Claim(attempt=3, waited=1e6, held_off=engine.settings.host_patience)
    pipeline.process([event()])
    ((_, dead),) = ledger.published
    assert dead == DeadLetterReason("HostUnavailable", "down")


@pytest.fixture
def deployed(
    engine: Engine,
    batcher: MicroBatcher,
    ledger: CannedLedger,
    metrics: Metrics,
    gate: PriorityGate,
    fetcher: Fetcher,
) -> Pipeline:
    """While another worker knows the policy `new` and its first version."""
    known = {"new", "new@1", "colours@4"}
    return Pipeline(engine, fetcher, batcher, ledger, metrics, 2, gate, known=known.__contains__)


@pytest.mark.parametrize("reference", ["new", "new@1", "colours@4"])
def test_an_event_whose_policy_another_worker_knows_goes_back_and_costs_no_try(
    deployed: Pipeline, ledger: CannedLedger, reference: str
) -> None:
    ledger.answer = Claim(attempt=3, waited=100.0, held_off=0.0)  # the last try
    deployed.process([event(policy=reference)])
    ledger.answer = Claim(attempt=3, waited=700.0, held_off=DEPLOYMENT_MAX_SECONDS - 1)
    deployed.process([event(policy=reference)])
    assert (ledger.counted, ledger.held_off) == ([False, False], [True, True])
    assert ledger.retries == [waits(0.5), waits(2)]
    assert ledger.published == []


@pytest.mark.parametrize(
    ("reference", "held_off"),
    [
        ("new", DEPLOYMENT_MAX_SECONDS),
        ("new@1", DEPLOYMENT_MAX_SECONDS + 1e6),
        ("other", 0.0),
        ("colours@9", 0.0),
    ],
)
def test_it_is_an_error_after_a_deployment_or_where_nobody_knows_it(
    deployed: Pipeline, ledger: CannedLedger, reference: str, held_off: float
) -> None:
    ledger.answer = Claim(attempt=1, waited=1.0, held_off=held_off)
    deployed.process([event(policy=reference)])
    ((verdict, reason),) = ledger.published
    assert (verdict.decision, ledger.retries) == (Decision.ERROR, [])
    assert reason is not None
    assert verdict.error is not None
    assert verdict.error.type == "PolicyNotFound"


def test_a_file_that_is_broken_here_may_be_whole_with_another_worker(
    deployed: Pipeline, ledger: CannedLedger, engine: Engine
) -> None:
    (engine.settings.policies / "colours" / "4.yaml").write_text("name: colours\nversi")  # half of a copy
    engine.refresh_policies()
    deployed.process([event(policy="colours@4")])
    assert (ledger.counted, ledger.published) == ([False], [])


@pytest.mark.parametrize("error", [DecoderCrashed("SIGSEGV"), DecodeTimeout("slow")])
def test_an_image_that_harms_a_decoder_is_tried_a_second_time_and_no_more(
    pipeline: Pipeline,
    engine: Engine,
    ledger: CannedLedger,
    monkeypatch: pytest.MonkeyPatch,
    error: ModeratorError,
) -> None:
    def prepare(data: bytes, selection: Selection) -> Prepared:
        raise error

    monkeypatch.setattr(engine.preparer, "prepare", prepare)
    ledger.answer = Claim(attempt=2, waited=0)  # what went wrong before was no harm
    pipeline.process([event()])
    assert (ledger.harmed, ledger.published) == ([True], [])
    ledger.answer = Claim(attempt=2, waited=0, harmed=True)
    pipeline.process([event()])
    ((verdict, dead),) = ledger.published
    assert (verdict.decision, dead.type) == (Decision.ERROR, type(error).__name__)
    assert len(ledger.retries) == 1


def test_an_event_that_did_harm_may_still_fail_for_other_reasons(
    pipeline: Pipeline,
    ledger: CannedLedger,
    monkeypatch: pytest.MonkeyPatch,
    fetcher: Fetcher,
) -> None:
    monkeypatch.setattr(fetcher, "fetch", failing(FetchFailed("503")))
    ledger.answer = Claim(attempt=2, waited=0, harmed=True)
    pipeline.process([event()])
    assert (ledger.harmed, ledger.published) == ([False], [])


def test_the_last_try_ends_in_a_dead_letter(
    pipeline: Pipeline,
    ledger: CannedLedger,
    monkeypatch: pytest.MonkeyPatch,
    fetcher: Fetcher,
) -> None:
    monkeypatch.setattr(fetcher, "fetch", failing(FetchFailed("503")))
    ledger.answer = Claim(attempt=3, waited=0)
    pipeline.process([event()])
    ((verdict, dead),) = ledger.published
    assert (verdict.decision, dead, ledger.retries) == (
        Decision.ERROR,
        DeadLetterReason("FetchFailed", "503"),
        [],
    )


def test_delays_have_an_end(
    engine: Engine,
    batcher: MicroBatcher,
    ledger: CannedLedger,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
    fetcher: Fetcher,
) -> None:
    engine.settings = engine.settings.model_copy(update={"max_attempts": 5000})
    monkeypatch.setattr(fetcher, "fetch", failing(FetchFailed("503")))
    ledger.answer = Claim(attempt=900, waited=0)
    Pipeline(engine, fetcher, batcher, ledger, metrics, 1, PriorityGate()).process([event()])
    assert ledger.retries == [waits(RETRY_DELAY_MAX_SECONDS)]


def test_an_event_that_killed_its_workers_is_not_tried_again(
    pipeline: Pipeline,
    ledger: CannedLedger,
    monkeypatch: pytest.MonkeyPatch,
    fetcher: Fetcher,
) -> None:
    monkeypatch.setattr(fetcher, "fetch", failing(AssertionError("fetched")))
    ledger.answer = Claim(attempt=1, waited=0, losses=MAX_LOSSES)
    pipeline.process([event()])
    ((verdict, dead),) = ledger.published
    assert (dead.type, verdict.error.type) == ("AttemptsExhausted", "AttemptsExhausted")


def test_the_unforeseen_is_tried_again_and_named(
    pipeline: Pipeline,
    ledger: CannedLedger,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
    fetcher: Fetcher,
) -> None:
    monkeypatch.setattr(fetcher, "fetch", failing(ZeroDivisionError("oops")))
    pipeline.process([event()])
    assert ledger.retries == [waits(2.0)]
    assert failures(metrics, "worker", "Unexpected") == 1
    ledger.answer = Claim(attempt=3, waited=0)
    pipeline.process([event()])
    ((_, dead),) = ledger.published
    assert dead == DeadLetterReason("Unexpected", "ZeroDivisionError: oops")


def test_a_stopping_worker_gives_the_event_back_at_once(
    pipeline: Pipeline, batcher: MicroBatcher, ledger: CannedLedger, metrics: Metrics
) -> None:
    batcher.stop()
    pipeline.process([event()])
    assert (ledger.given_back, ledger.retries, ledger.published) == (["shop:e"], [], [])
    assert failures(metrics, "worker", "WorkerStopping") == 0


def test_what_redis_raises_is_not_swallowed(pipeline: Pipeline, ledger: CannedLedger) -> None:
    ledger.answer = ConnectionError("redis is gone")
    with pytest.raises(ConnectionError):
        pipeline.process([event()])


def test_so_many_images_are_decoded_at_once(
    pipeline: Pipeline, engine: Engine, ledger: CannedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, lock, inside, most = engine.preparer.prepare, Lock(), 0, 0

    def counting(data: bytes, selection: Selection) -> Prepared:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        try:
            return prepare(data, selection)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(engine.preparer, "prepare", counting)
    large = picture("red", size=(900, 900))
    threads = [Thread(target=pipeline.process, args=([event(large, id=f"e{n}")],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.published) == 8
    assert most <= 2


def test_signals_are_a_stage_of_their_own_and_their_failure_is_no_allow(
    pipeline: Pipeline,
    engine: Engine,
    ledger: CannedLedger,
    metrics: Metrics,
    fetcher: Fetcher,
    batcher: MicroBatcher,
    gate: PriorityGate,
) -> None:
    needs_extra("pdqhash", "hash")
    policies = engine.settings.policies
    (policies / "bad.pdq").write_text("0f" * 32 + "\n")
    digest = sha256((policies / "bad.pdq").read_bytes()).hexdigest()
    (policies / "listed").mkdir()
    (policies / "listed" / "1.yaml").write_text(
        f"name: listed\nversion: 1\nsignals:\n- {{name: bad, kind: hash-list, file: bad.pdq, sha256: {digest}}}\n"
        "categories:\n  known: {signal: bad}\n"
    )
    release(policies, "listed", 1)
    engine.catalogue.refresh()
    pipeline.process([event(policy="listed@1")])
    ((verdict, dead),) = ledger.published
    assert (verdict.decision, dead, verdict.signals["bad"]["score"]) == (Decision.ALLOW, None, 0)
    assert {"decode", "signals", "score"} <= set(verdict.timings_ms)
    assert min(verdict.timings_ms.values()) >= 0
    assert value(metrics, "moderation_stage_duration_seconds_count", stage="signals") == 1

    (policies / "bad.pdq").unlink()
    restarted = Engine(engine.settings, encoder=engine.encoder)
    Pipeline(restarted, fetcher, batcher, ledger, metrics, 2, gate).process([event(policy="listed@1")])
    verdict, dead = ledger.published[1]
    assert (verdict.decision, verdict.is_safe, verdict.error.type) == (Decision.ERROR, False, "SignalFailed")
    assert (dead.type, ledger.retries) == ("SignalFailed", [])
    assert failures(metrics, "signals", "SignalFailed") == 1


def test_a_draft_never_decides_for_an_event_and_may_be_tried_without_a_queue(
    batcher: MicroBatcher,
    engine: Engine,
    ledger: CannedLedger,
    metrics: Metrics,
    gate: PriorityGate,
    fetcher: Fetcher,
) -> None:
    policies = engine.settings.policies
    draft = (policies / "colours" / "1.yaml").read_text().replace("version: 1", "version: 7")
    (policies / "colours" / "7.yaml").write_text(draft)
    engine.catalogue.refresh()
    pipeline = Pipeline(engine, fetcher, batcher, ledger, metrics, 2, gate)
    pipeline.process([event(policy="colours@7")])
    ((verdict, dead),) = ledger.published
    assert (verdict.decision, verdict.error.type) == (Decision.ERROR, "PolicyUnreleased")
    assert dead is not None
    assert "colours@7 is a draft" in dead.message
    assert ledger.retries == []
    release(policies, "colours", 7)
    engine.catalogue.refresh()
    pipeline.process([event(policy="colours@7")])
    assert ledger.published[1][0].policy.version == 7

    (policies / "colours" / "8.yaml").write_text(draft.replace("version: 7", "version: 8"))
    (tried,) = Moderator(engine.settings, encoder=engine.encoder).check([picture("red")], policy="colours@8")
    assert tried.policy.version == 8


@pytest.mark.parametrize("interactive", [False, True])
def test_bulk_has_little_in_hand_while_interactive_events_come(
    pipeline: Pipeline,
    gate: PriorityGate,
    ledger: CannedLedger,
    monkeypatch: pytest.MonkeyPatch,
    interactive: bool,
    fetcher: Fetcher,
) -> None:
    """The largest batch has 8 images here, so a small one has 2; bulk has two of those in hand."""
    fetch, lock, inside, seen = fetcher.fetch, Lock(), 0, 0
    gathered = Flag()

    def counting(reference: ImageReference) -> bytes:
        nonlocal inside, seen
        with lock:
            inside += 1
            seen = max(seen, inside)
            if seen == 6:
                gathered.set()
        gathered.wait(0.2)
        with lock:
            inside -= 1
        return fetch(reference)

    monkeypatch.setattr(fetcher, "fetch", counting)
    if interactive:
        gate.note(Priority.INTERACTIVE)
    events = [event(id=f"e{n}", priority="bulk") for n in range(6)]
    threads = [Thread(target=pipeline.process, args=([one],)) for one in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.published) == 6
    assert seen == (4 if interactive else 6)


def test_events_of_a_group_have_an_end_each(
    pipeline: Pipeline, ledger: CannedLedger, metrics: Metrics
) -> None:
    group = [
        event(id="a"),
        event(b"text", id="b"),
        event(id="c"),
        event(id="d", image={"path": "/etc/passwd"}),
    ]
    pipeline.process([one.model_copy(update={"priority": Priority.BULK}) for one in group])
    assert [(verdict.event_id, dead and dead.type) for verdict, dead in ledger.published] == [
        ("a", None),
        ("b", "NotAnImage"),
        ("c", None),
        ("d", "FetchRefused"),
    ]
    assert value(metrics, "moderation_stage_duration_seconds_count", stage="publish") == 4


def test_what_is_claimed_is_held_until_the_end(
    engine: Engine,
    batcher: MicroBatcher,
    ledger: CannedLedger,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
    fetcher: Fetcher,
) -> None:
    held: list[tuple[str, str]] = []
    leases = Leases(held.extend)
    fetch = fetcher.fetch

    def beating(reference: ImageReference) -> bytes:
        leases.beat()
        return fetch(reference)

    monkeypatch.setattr(fetcher, "fetch", beating)
    ledger.answer = Claim(attempt=1, waited=0, token="ours")
    pipeline = Pipeline(engine, fetcher, batcher, ledger, metrics, 1, PriorityGate(), leases=leases)
    pipeline.process([event(id="a")])
    assert held == [("shop:a", "ours")]
    leases.beat()
    assert len(held) == 1
    assert [claim.token for claim in ledger.claims] == ["ours"]


def test_a_try_that_lost_its_event_is_a_redelivery(
    pipeline: Pipeline,
    ledger: CannedLedger,
    metrics: Metrics,
    monkeypatch: pytest.MonkeyPatch,
    fetcher: Fetcher,
) -> None:
    monkeypatch.setattr(fetcher, "fetch", failing(FetchFailed("503")))
    ledger.holds = False
    pipeline.process([event()])
    assert redeliveries(metrics) == 1


def test_what_cannot_be_published_is_tried_again_later(
    pipeline: Pipeline, ledger: CannedLedger, metrics: Metrics
) -> None:
    ledger.duration = RedisMisused("moderation:verdicts holds a string, not a stream")
    ledger.answer = Claim(attempt=2, waited=0)
    pipeline.process([event()])
    assert (ledger.retries, ledger.counted) == ([waits(4.0)], [True])
    assert failures(metrics, "worker", "RedisMisused") == 1
    assert value(metrics, "moderation_duration_seconds_count") == 0


def test_an_image_that_an_older_version_accepted_keeps_its_name(
    pipeline: Pipeline, ledger: CannedLedger
) -> None:
    ledger.answer = Claim(attempt=1, waited=0, before_bulk=True)
    pipeline.process([event(id="up/0", bulk="up")])
    ((verdict, _),) = ledger.published
    assert (verdict.event_id, verdict.bulk) == ("up/0", None)
    ledger.answer = Claim(attempt=1, waited=0)
    pipeline.process([event(id="up/0", bulk="up")])
    assert ledger.published[1][0].bulk == "up"
