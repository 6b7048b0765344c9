import logging
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from moderator.archive.archive_metrics import ArchiveMetrics
from moderator.delivery.delivery_metrics import DeliveryMetrics
from moderator.delivery.object_metrics import OBJECT_ACTIONS
from moderator.errors import FetchFailed, NotAnImage
from moderator.policies.policy_metrics import LoadedPolicy
from moderator.queue.outbox import ConsumerLag
from moderator.queue.queue_metrics import OutgoingState, QueueCollector, QueueState
from moderator.queue.stream_state import GroupState, StreamState
from moderator.verdicts import CategoryVerdict, Decision, PolicyFacts, ShadowVerdict, Verdict
from workers.worker_metrics import STAGES, Metrics, describe

# The contract with dashboards and alert rules: names and labels may be added, never changed.
CONTRACT = {
    "moderation_events_total": ("policy", "decision"),
    "moderation_duration_seconds": (),
    "moderation_stage_duration_seconds": ("stage",),
    "moderation_batch_size": (),
    "moderation_queue_depth": ("queue",),
    "moderation_oldest_event_age_seconds": ("queue",),
    "moderation_failures_total": ("stage", "error"),
    "moderation_redeliveries_total": (),
    "moderation_dead_letters": (),
    "moderation_category_score": ("policy", "category"),
    "moderation_shadow_disagreements_total": ("policy", "version"),
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def verdict(**changes: object) -> Verdict:
    values: dict[str, object] = {
        "event_id": "e1",
        "source": "shop",
        "decision": Decision.BLOCK,
        "is_safe": False,
        "categories": {"weapons": CategoryVerdict(score=0.93, decision=Decision.BLOCK)},
        "policy": PolicyFacts(name="marketplace", version=3, digest="d" * 64),
        "timings_ms": {"fetch": 20.0, "embed": 80.0, "total": 900.0},
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Verdict.model_validate(values | changes)


def test_names_and_labels_are_the_contract() -> None:
    declared = {row.name: row.labels for row in describe()}
    assert {name: declared.get(name) for name in CONTRACT} == CONTRACT
    assert {"moderation_policy_info", "moderation_model_info"} <= set(declared)


def test_described_names_are_the_exported_ones(registry: CollectorRegistry, metrics: Metrics) -> None:
    registry.register(QueueCollector(lambda: QueueState({"moderation": 0}, {"moderation": 0.0}, 0)))
    DeliveryMetrics(registry, ["webhooks"], metrics.count_failure)
    for collector in (*ArchiveMetrics().collectors, OBJECT_ACTIONS.counter(None)):
        registry.register(collector)
    exported = set(re.findall(r"^# TYPE (\S+) ", generate_latest(registry).decode(), re.M))
    exported = {name for name in exported if not name.endswith("_created")}
    assert {row.name for row in describe()} == exported
    assert all(row.help.endswith(".") for row in describe())


def test_a_verdict_is_counted_with_its_scores_and_timings(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.count_verdict(verdict(), 0.4)
    value = registry.get_sample_value
    assert value("moderation_events_total", {"policy": "marketplace", "decision": "block"}) == 1
    assert value("moderation_duration_seconds_sum") == pytest.approx(0.4)
    assert value("moderation_stage_duration_seconds_sum", {"stage": "embed"}) == pytest.approx(0.08)
    assert value("moderation_stage_duration_seconds_count", {"stage": "decode"}) == 0
    assert value("moderation_stage_duration_seconds_count", {"stage": "total"}) is None
    labels = {"policy": "marketplace", "category": "weapons"}
    assert value("moderation_category_score_bucket", labels | {"le": "0.9"}) == 0
    assert value("moderation_category_score_bucket", labels | {"le": "1.0"}) == 1


def test_an_event_that_no_policy_judged_is_counted_as_unknown(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    metrics.count_verdict(verdict(decision=Decision.ERROR, policy=None, categories={}), 0.1)
    assert (
        registry.get_sample_value("moderation_events_total", {"policy": "unknown", "decision": "error"}) == 1
    )


@pytest.mark.parametrize(("decision", "disagreements"), [(Decision.ALLOW, 1), (Decision.BLOCK, 0)])
def test_shadow_disagreements(
    registry: CollectorRegistry, metrics: Metrics, decision: Decision, disagreements: int
) -> None:
    metrics.show_policies([LoadedPolicy("marketplace", 4, "e" * 64, "shadow")])
    shadow = ShadowVerdict(version=4, digest="e" * 64, decision=decision, unsafe_score=0.1, categories={})
    metrics.count_verdict(verdict(shadow=(shadow,)), 0.1)
    labels = {"policy": "marketplace", "version": "4"}
    assert registry.get_sample_value("moderation_shadow_disagreements_total", labels) == disagreements


def test_second_opinions_are_counted_by_outcome(registry: CollectorRegistry, metrics: Metrics) -> None:
    metrics.count_opinion("shop", "cleared")
    metrics.count_verdict(verdict(timings_ms={"opinion": 1500.0}), 2.0)
    labels = {"policy": "shop", "outcome": "cleared"}
    assert registry.get_sample_value("moderation_second_opinions_total", labels) == 1
    name = "moderation_stage_duration_seconds_sum"
    assert registry.get_sample_value(name, {"stage": "opinion"}) == 1.5


def test_failures_carry_stage_and_type_and_never_a_message(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    before = registry.get_sample_value(
        "moderation_failures_total", {"stage": "fetch", "error": "FetchFailed"}
    )
    metrics.count_failure(FetchFailed("https://example.org/secret.jpg answered 503"))
    metrics.count_failure(type("Surprise1234", (RuntimeError,), {})("boom"))
    value = registry.get_sample_value
    assert before == 0, "a series starts at 0, else the first failure is no increase"
    assert value("moderation_failures_total", {"stage": "fetch", "error": "FetchFailed"}) == 1
    assert value("moderation_failures_total", {"stage": "internal", "error": "Unexpected"}) == 1
    assert value("moderation_failures_total", {"stage": "decode", "error": NotAnImage.__name__}) == 0
    assert b"secret" not in generate_latest(registry)
    assert b"Surprise1234" not in generate_latest(registry)


@given(
    events=st.lists(
        st.tuples(st.text(min_size=1, max_size=20), st.text(min_size=1), st.sampled_from(Decision)),
        max_size=20,
    )
)
def test_ids_sources_and_metadata_add_no_series(events: list[tuple[str, str, Decision]]) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.show_policies([LoadedPolicy("marketplace", 3, "d" * 64, "active")])
    metrics.count_verdict(verdict(), 0.1)
    series = generate_latest(registry).count(b"\n")
    for event_id, source, decision in events:
        metrics.count_verdict(
            verdict(event_id=event_id, source=source, decision=decision, metadata={"note": source}), 0.1
        )
    assert generate_latest(registry).count(b"\n") == series


def test_policy_info_follows_the_pointer(registry: CollectorRegistry, metrics: Metrics) -> None:
    old = LoadedPolicy("marketplace", 3, "d" * 64, "active")
    new = LoadedPolicy("marketplace", 4, "e" * 64, "active")
    metrics.show_policies([old])
    metrics.show_policies([new])
    info = [s for family in registry.collect() for s in family.samples if s.name == "moderation_policy_info"]
    assert [(s.labels["version"], s.labels["digest"], s.value) for s in info] == [("4", "e" * 12, 1.0)]
    for decision in Decision:
        labels = {"policy": "marketplace", "decision": decision.value}
        assert registry.get_sample_value("moderation_events_total", labels) == 0


def test_stages_start_at_zero(registry: CollectorRegistry, metrics: Metrics) -> None:
    for stage in STAGES:
        assert registry.get_sample_value("moderation_stage_duration_seconds_count", {"stage": stage}) == 0


def test_readiness_is_asked_at_each_scrape(registry: CollectorRegistry, metrics: Metrics) -> None:
    answers: list[bool | Exception] = [True, False, ConnectionError("redis is down")]

    def check() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    metrics.watch_readiness(check)
    assert [registry.get_sample_value("moderation_ready") for _ in range(3)] == [1, 0, 0]


def test_the_backlog_is_read_at_each_scrape(registry: CollectorRegistry) -> None:
    states = [
        QueueState(
            {"moderation": 7, "moderation.bulk": 0},
            {"moderation": 2.5, "moderation.bulk": 0.0},
            3,
            9,
            90,
            {"moderation.bulk": 2},
        ),
        QueueState({"moderation": 6, "moderation.bulk": 1}, {"moderation": 1.0, "moderation.bulk": 0.1}, 4),
    ]
    registry.register(QueueCollector(lambda: states.pop(0)))
    samples = {
        (s.name, s.labels.get("queue")): s.value for family in registry.collect() for s in family.samples
    }
    assert samples == {
        ("moderation_queue_depth", "moderation"): 7,
        ("moderation_queue_depth", "moderation.bulk"): 0,
        ("moderation_oldest_event_age_seconds", "moderation"): 2.5,
        ("moderation_oldest_event_age_seconds", "moderation.bulk"): 0,
        ("moderation_dead_letters", None): 3,
        ("moderation_pending_events", None): 9,
        ("moderation_pending_bytes", None): 90,
        ("moderation_refusals_total", "moderation.bulk"): 2,
        ("moderation_queue_read_failures_total", None): 0,
    }
    assert registry.get_sample_value("moderation_dead_letters") == 4


def test_readers_and_webhooks_are_shown_by_group(registry: CollectorRegistry) -> None:
    groups = (
        GroupState("archive", lag=5, pending=2, missed=0, oldest_age=7.5, needs="1-0"),
        GroupState("feed", lag=None, pending=0, missed=540, oldest_age=0.0, needs="2-0"),
    )
    lags = (ConsumerLag("webhooks", 4, 12.5, 0), ConsumerLag("archive", 100, 60.0, 9))
    outgoing = OutgoingState(StreamState(700, groups), disabled_webhooks=3, outbox=lags)
    registry.register(QueueCollector(lambda: QueueState({}, {}, 0, outgoing=outgoing)))
    shown = {
        (s.name.removeprefix("moderation_"), s.labels.get("group") or s.labels.get("consumer")): s.value
        for family in registry.collect()
        for s in family.samples
        if "stream" in s.name or "webhooks" in s.name or "outbox" in s.name
    }
    assert shown == {
        ("stream_length", None): 700,
        ("stream_lag", "archive"): 5,
        ("stream_pending", "archive"): 2,
        ("stream_pending", "feed"): 0,
        ("stream_missed", "archive"): 0,
        ("stream_missed", "feed"): 540,
        ("stream_oldest_age_seconds", "archive"): 7.5,
        ("stream_oldest_age_seconds", "feed"): 0,
        ("webhooks_disabled", None): 3,
        ("outbox_waiting", "webhooks"): 4,
        ("outbox_waiting", "archive"): 100,
        ("outbox_oldest_age_seconds", "webhooks"): 12.5,
        ("outbox_oldest_age_seconds", "archive"): 60,
        ("outbox_missed_total", "webhooks"): 0,
        ("outbox_missed_total", "archive"): 9,
    }


def test_a_scrape_survives_a_backlog_that_cannot_be_read(
    registry: CollectorRegistry, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    def read() -> QueueState:
        raise ConnectionError("redis is down")

    registry.register(QueueCollector(read))
    with caplog.at_level(logging.CRITICAL):
        first, second = generate_latest(registry).decode(), generate_latest(registry).decode()
    assert "moderation_queue_read_failures_total 1.0" in first
    assert "moderation_queue_read_failures_total 2.0" in second
    for name in ("moderation_queue_depth", "moderation_oldest_event_age_seconds", "moderation_dead_letters"):
        assert name not in first
    assert "moderation_batch_size" in first


def test_registering_the_backlog_does_not_read_it(registry: CollectorRegistry) -> None:
    def read() -> QueueState:
        pytest.fail("read before the first scrape")

    registry.register(QueueCollector(read))


def test_two_collectors_of_the_same_names_are_refused(registry: CollectorRegistry) -> None:
    registry.register(QueueCollector(lambda: QueueState({}, {}, 0)))
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(QueueCollector(lambda: QueueState({}, {}, 0)))
