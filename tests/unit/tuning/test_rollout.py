"""What shadows and canaries did, counted from verdicts as workers publish them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from moderator.errors import SignalFailed
from moderator.tuning.rollout import OTHER_REASONS, REASONS_MAX, SAMPLES_MAX, RolloutCounts
from moderator.tuning.rollout_figures import Rollout, rollout_of
from moderator.tuning.rollout_record import rollout_record
from moderator.verdicts import (
    CategoryVerdict,
    Decision,
    Diversion,
    ErrorFacts,
    ImageFacts,
    PolicyFacts,
    ShadowVerdict,
    Verdict,
    revised,
)

ALLOW, REVIEW, BLOCK, ERROR = Decision.ALLOW, Decision.REVIEW, Decision.BLOCK, Decision.ERROR
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCORES = {ALLOW: 0.1, REVIEW: 0.6, BLOCK: 0.9}


def verdict(number: int, decision: Decision, shadow: ShadowVerdict | None = None, **more: Any) -> Verdict:
    """Of the category weapons, by version 1 unless it says otherwise; one each minute."""
    categories = {"weapons": CategoryVerdict(SCORES[decision], decision)} if decision is not ERROR else {}
    fields: dict[str, Any] = {
        "event_id": f"e{number}",
        "source": "shop",
        "decision": decision,
        "is_safe": decision is ALLOW,
        "categories": categories,
        "policy": PolicyFacts(name="market", version=more.pop("version", 1), digest="d"),
        "image": ImageFacts(sha256=f"{number:064x}", width=1, height=1, format="PNG"),
        "shadow": () if shadow is None else (shadow,),
        "created_at": NOON + timedelta(minutes=number),
    }
    return Verdict(**fields | more)


def shadow(decision: Decision, version: int = 2, **categories: Decision) -> ShadowVerdict:
    found = categories or {"weapons": decision}
    return ShadowVerdict(
        version=version,
        digest="d",
        decision=decision,
        unsafe_score=0.5,
        categories={name: CategoryVerdict(SCORES[one], one) for name, one in found.items()},
    )


def failed(message: str = "the file is gone") -> ShadowVerdict:
    error = ErrorFacts(type=SignalFailed.__name__, message=message)
    return ShadowVerdict(version=2, digest="d", decision=ERROR, error=error)


def count(*verdicts: Verdict, canary: int | None = None) -> RolloutCounts:
    counts = RolloutCounts("market", 1, (2,), canary)
    for one in verdicts:
        counts.add(json.loads(one.model_dump_json()))
    return counts


def report(counts: RolloutCounts, percent: float = 10.0) -> Rollout:
    return rollout_of(counts, percent, "from the archive")


def test_disagreements_are_counted_by_category_and_direction() -> None:
    made = [verdict(n, ALLOW, shadow(ALLOW)) for n in range(94)]
    made += [verdict(94 + n, ALLOW, shadow(BLOCK)) for n in range(4)]
    made += [verdict(98 + n, BLOCK, shadow(REVIEW)) for n in range(2)]
    (figures,) = report(count(*made)).shadows
    assert (figures.counts.judged, figures.counts.changed, figures.counts.failed) == (100, 6, 0)
    rows = [(one.category, one.before, one.after, one.images, one.stricter) for one in figures.changes]
    assert rows == [
        (None, "allow", "block", 4, True),
        (None, "block", "review", 2, False),
        ("weapons", "allow", "block", 4, True),
        ("weapons", "block", "review", 2, False),
    ]
    rate = figures.changes[0].rate  # Wilson's interval of 4 in 100
    assert (rate.value, rate.low, rate.high) == (
        0.04,
        pytest.approx(0.01566, abs=1e-5),
        pytest.approx(0.09837, abs=1e-5),
    )
    assert figures.sentence == (
        "If market@2 were promoted, 6.0 % (2.8 to 12.5) of the images would be decided otherwise than by market@1: "
        "4 allow to block, 2 block to review."
    )
    assert figures.command == "moderator policy promote market@2"


def test_a_failed_shadow_is_an_error_and_neither_agrees_nor_scores() -> None:
    made = [
        verdict(0, ALLOW, shadow(ALLOW)),
        verdict(1, ALLOW, failed()),
        verdict(2, BLOCK, failed("x" * 900)),
    ]
    (figures,) = report(count(*made)).shadows
    assert (figures.counts.judged, figures.counts.changed, figures.counts.failed) == (1, 0, 2)
    assert figures.counts.failures == {
        ("SignalFailed", "the file is gone"): 1,
        ("SignalFailed", "x" * 200): 1,
    }
    assert figures.failed.value == pytest.approx(2 / 3)
    assert "could not judge 2 of 3 images: each would be an error" in figures.sentence
    assert figures.command == "moderator policy lint market@2", "a version that fails is not to be promoted"


def test_a_shadow_that_failed_always_has_no_rate() -> None:
    record = rollout_record(report(count(verdict(0, ALLOW, failed()))))
    assert record["shadows"][0]["changed"] == {"images": 0, "value": None, "low": None, "high": None}


def test_reasons_are_bounded() -> None:
    made = [verdict(n, ALLOW, failed(f"file {n}")) for n in range(REASONS_MAX + 7)]
    failures = count(*made).shadow_counts[2].failures
    assert (len(failures), failures[OTHER_REASONS]) == (REASONS_MAX + 1, 7)


def test_a_category_of_one_version_alone_allows_in_the_other() -> None:
    (figures,) = report(count(verdict(0, ALLOW, shadow(REVIEW, weapons=ALLOW, drugs=REVIEW)))).shadows
    assert [(one.category, one.before, one.after) for one in figures.changes] == [
        (None, "allow", "review"),
        ("drugs", "allow", "review"),
    ]
    (sample,) = figures.counts.samples["allow", "review"]
    assert (sample.category, sample.score_before, sample.score_after) == ("drugs", None, 0.6)


def test_what_says_nothing_of_the_versions_is_left_out() -> None:
    judged = verdict(0, BLOCK, shadow(ALLOW))
    counts = count(
        judged,
        revised(judged, "d", ALLOW, by="ann"),
        verdict(1, BLOCK, shadow(ALLOW), version=3),
        verdict(2, BLOCK, shadow(ALLOW, version=4)),
        verdict(3, BLOCK, shadow(ALLOW), policy=PolicyFacts(name="other", version=1)),
    )
    (figures,) = report(counts).shadows
    assert (figures.counts.judged, figures.counts.beside_others, counts.verdicts) == (1, 1, 3)


def test_a_diverted_block_is_what_the_policy_decided() -> None:
    diversion = Diversion(category="weapons", reason="flood breaker: ...")
    diverted = verdict(0, BLOCK, shadow(BLOCK)).model_copy(update={"decision": REVIEW, "diverted": diversion})
    assert count(diverted).shadow_counts[2].decisions == {("block", "block"): 1}


def test_second_opinions_are_mentioned_for_shadows_ask_for_none() -> None:
    cleared = verdict(0, ALLOW, shadow(REVIEW), signals={"guard": {"outcome": "cleared"}})
    asked = verdict(1, ALLOW, shadow(ALLOW), signals={"guard": {"outcome": "kept"}, "odd": 3})
    assert count(cleared, asked).shadow_counts[2].opinions == 1


def test_samples_are_the_newest_in_any_order_of_verdicts() -> None:
    made = [verdict(n, ALLOW, shadow(BLOCK)) for n in range(40)]
    newest = [f"e{n}" for n in range(39, 39 - SAMPLES_MAX, -1)]
    for order in (made, made[::-1], made[1::2] + made[::2]):
        samples = count(*order).shadow_counts[2].samples["allow", "block"]
        assert [one.event_id for one in samples] == newest


def test_nothing_judged_is_said() -> None:
    (figures,) = report(count()).shadows
    assert (figures.sentence, figures.command) == (
        "market@2 has judged no image of market@1 in this time: wait for events.",
        None,
    )


def canary_verdicts(canary_blocks: int, active_blocks: int) -> list[Verdict]:
    """In one hour, 200 images of the canary 2 and 1000 of version 1."""
    made = []
    for version, number, blocks in ((2, 200, canary_blocks), (1, 1000, active_blocks)):
        for n in range(number):
            decision = BLOCK if n < blocks else ALLOW
            made.append(verdict(n, decision, version=version, created_at=NOON + timedelta(seconds=n)))
    return made


def test_a_canary_is_compared_in_the_same_hours() -> None:
    alone = [verdict(n, BLOCK, created_at=NOON + timedelta(hours=3)) for n in range(50)]
    canary = report(count(*canary_verdicts(20, 20), *alone, canary=2)).canary
    assert canary is not None
    assert (canary.counts.hours, canary.counts.alone) == (1, 50)
    assert (canary.counts.canary.images, canary.counts.active.images) == (200, 1000)
    block = next(one for one in canary.differences if one.category is None and one.decision == "block")
    assert (block.canary, block.active, block.difference.value) == (
        (20, 200),
        (20, 1000),
        pytest.approx(0.08),
    )
    assert block.chance < 1e-5
    assert canary.sentence == (
        "If market@2 were promoted, expect by its decisions on 200 images against 1,000 of version 1 in the same "
        "hours: block 10.0% instead of 2.0%; weapons: block 10.0% instead of 2.0%."
    )
    assert canary.command == "moderator policy promote market@2"


def test_a_canary_without_a_difference_is_said_to_have_none() -> None:
    canary = report(count(*canary_verdicts(5, 20), canary=2)).canary
    assert canary is not None
    assert "expect the same rates as today" in canary.sentence
    assert all(one.chance > 0.05 for one in canary.differences)


def test_a_canary_that_fails_more_often_is_not_to_be_promoted() -> None:
    errors = [
        verdict(n, ERROR, version=2, error=ErrorFacts(type="SignalFailed", message="gone"), created_at=NOON)
        for n in range(30)
    ]
    canary = report(count(*canary_verdicts(4, 20), *errors, canary=2)).canary
    assert canary is not None
    assert canary.counts.canary.failures == {("SignalFailed", "gone"): 30}
    assert "It fails more often" in canary.sentence
    assert canary.command == "moderator policy lint market@2"


def test_a_canary_that_failed_as_a_shadow_is_not_to_be_promoted() -> None:
    canary = report(count(*canary_verdicts(5, 20), verdict(0, ALLOW, failed()), canary=2)).canary
    assert canary is not None
    assert canary.command == "moderator policy lint market@2"


def test_a_canary_that_decided_nothing_is_said() -> None:
    canary = report(count(verdict(0, ALLOW), canary=2)).canary
    assert canary is not None
    assert (canary.command, canary.sentence) == (
        None,
        "In no hour did both market@2 and version 1 decide: wait for events.",
    )


def test_the_record_is_json_and_has_everything() -> None:
    made = [*canary_verdicts(20, 20), verdict(3000, ALLOW, shadow(BLOCK)), verdict(3001, ALLOW, failed())]
    record = json.loads(json.dumps(rollout_record(report(count(*made, canary=2)))))
    assert record["source"] == "from the archive"
    (one,) = record["shadows"]
    assert one["failures"] == [{"type": "SignalFailed", "message": "the file is gone", "images": 1}]
    assert one["samples"][0]["event_id"] == "e3000"
    assert record["canary"]["canary"]["decisions"] == {"block": 20, "allow": 180}
