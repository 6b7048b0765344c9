from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moderator.verdicts import (
    CategorySeverity,
    CategoryVerdict,
    Decision,
    ErrorFacts,
    Verdict,
    revised,
    verdict_digest,
)

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
FINITE = st.floats(0, 1)
TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
CATEGORY = st.fixed_dictionaries(
    {"score": FINITE, "decision": st.sampled_from(Decision)},
    optional={
        "top_prompts": st.lists(
            st.fixed_dictionaries(
                {"prompt": TEXT, "side": TEXT, "similarity": FINITE, "probability": FINITE}
            ),
            max_size=3,
        )
    },
)
VERDICTS = st.fixed_dictionaries(
    {"event_id": TEXT, "source": TEXT, "decision": st.sampled_from(Decision), "is_safe": st.booleans()},
    optional={
        "safe_score": st.none() | FINITE,
        "unsafe_score": st.none() | FINITE,
        "categories": st.dictionaries(NAMES, CATEGORY, max_size=3),
        "policy": st.fixed_dictionaries({"name": TEXT, "version": st.integers(1, 99), "digest": TEXT}),
        "image": st.fixed_dictionaries(
            {"sha256": TEXT, "width": st.integers(), "height": st.integers(), "format": TEXT}
        ),
        "shadow": st.lists(
            st.fixed_dictionaries(
                {
                    "version": st.integers(1, 99),
                    "digest": TEXT,
                    "decision": st.sampled_from(Decision),
                    "unsafe_score": FINITE,
                    "categories": st.dictionaries(NAMES, CATEGORY, max_size=2),
                }
            ),
            max_size=2,
        ),
        "error": st.fixed_dictionaries({"type": TEXT, "message": TEXT}),
        "timings_ms": st.dictionaries(NAMES, st.floats(0, 1e6), max_size=3),
        "metadata": st.dictionaries(TEXT, JSON, max_size=3),
        "signals": st.dictionaries(TEXT, JSON, max_size=2),
        "created_at": st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    },
)


@given(VERDICTS)
def test_json_round_trip(values: dict[str, object]) -> None:
    verdict = Verdict.model_validate(values)
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_the_fields_are_the_contract() -> None:
    contract = (
        "event_id source decision is_safe safe_score unsafe_score categories policy model image signals shadow "
        "error timings_ms created_at metadata"
    )
    assert set(contract.split()) <= set(Verdict.model_fields)


def test_decisions() -> None:
    assert [str(d) for d in Decision] == ["allow", "review", "block", "error"]


def test_a_verdict_does_not_change() -> None:
    verdict = Verdict(event_id="e", source="s", decision=Decision.ALLOW, is_safe=True)
    assert verdict.created_at.tzinfo is UTC
    with pytest.raises(ValidationError):
        verdict.is_safe = False


def top(**categories: tuple[float, str]) -> str | None:
    made = {
        name: CategoryVerdict(score=score, decision=Decision(decision))
        for name, (score, decision) in categories.items()
    }
    return Verdict(
        event_id="e", source="s", decision=Decision.ALLOW, is_safe=True, categories=made
    ).top_category


def test_the_top_category_is_the_severest_then_the_highest() -> None:
    assert top() is None
    assert top(a=(0.1, "allow"), b=(0.2, "allow")) == "b"
    assert top(a=(0.6, "review"), b=(0.9, "allow")) == "a"
    assert top(a=(0.1, "block"), b=(0.9, "review"), c=(0.2, "block")) == "c"
    assert top(a=(1.0, "block"), b=(1.0, "block")) == "a", "the one whose scores the verdict carries"


def test_what_a_verdict_need_not_say_is_left_out() -> None:
    """So that its JSON is that of versions which did not know these fields."""
    verdict = Verdict(event_id="1", source="s", decision=Decision.ALLOW, is_safe=True)
    assert not {"image_key", "image_version", "revises", "severity", "message"} & {
        *verdict.model_dump(mode="json")
    }
    later = revised(verdict, verdict_digest(b"{}"), Decision.BLOCK)
    assert {*later.model_dump(mode="json")["revises"]} == {"digest", "decided_at"}


def test_what_a_person_allows_has_no_message_for_the_uploader() -> None:
    first = Verdict(
        event_id="1",
        source="s",
        decision=Decision.REVIEW,
        is_safe=False,
        severity=CategorySeverity.HIGH,
        message="No guns here.",
    )
    assert first.model_dump(mode="json")["severity"] == "high"
    allowed, blocked = (revised(first, "0" * 12, d) for d in (Decision.ALLOW, Decision.BLOCK))
    assert (allowed.severity, allowed.message) == (None, None)
    assert (blocked.severity, blocked.message) == (CategorySeverity.HIGH, "No guns here.")


def test_a_later_decision_has_the_facts_of_the_first() -> None:
    first = Verdict(
        event_id="1",
        source="s",
        decision=Decision.ERROR,
        is_safe=False,
        error=ErrorFacts(type="FetchFailed", message="no"),
        metadata={"user": 12},
        image_key="uploads/a.jpg",
    )
    later = revised(first, "0" * 12, Decision.ALLOW, by="ann", reason="seen")
    assert (later.decision, later.is_safe, later.error) == (Decision.ALLOW, True, None)
    assert (later.metadata, later.image_key) == (first.metadata, first.image_key)
    assert later.created_at > first.created_at
    assert Verdict.model_validate_json(later.model_dump_json()) == later
