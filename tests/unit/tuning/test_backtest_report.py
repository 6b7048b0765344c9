"""What people read of a back-test."""

import json
from collections import Counter
from datetime import UTC, date, datetime

import numpy as np

from moderator.identity import Identity
from moderator.policies.schema import Policy
from moderator.reports.blocks import SheetItem
from moderator.scoring.layout import lay_out
from moderator.scoring.thresholds import CompiledPolicy
from moderator.tuning.archived_images import ArchivePolicy
from moderator.tuning.backtest import BacktestResult
from moderator.tuning.backtest_counts import BacktestCounts, BacktestPlan, Flip
from moderator.tuning.backtest_record import category_rows, day_rows, flip_counts, record_of, sentence
from moderator.tuning.backtest_report import backtest_report

POLICY = Policy.model_validate(
    {"name": "p", "version": 4, "safe": ["b"], "categories": {"bad": {"unsafe": ["a"]}}}
)
PLAN = BacktestPlan(
    ArchivePolicy(
        CompiledPolicy(POLICY, lay_out(POLICY), np.eye(2, dtype=np.float32), 1.0, 0.0),
        Identity("model", "1", "plain"),
        {},
        {},
        {},
    )
)
MISSING = "not computable"
DECISIONS = Counter(
    {
        ("allow", "allow"): 90,
        ("allow", "block"): 4,
        ("block", "allow"): 2,
        ("review", "block"): 1,
        ("block", "block"): 1,
        ("allow", MISSING): 2,
    }
)
RESULT = BacktestResult(
    datetime(2026, 3, 1, tzinfo=UTC),
    None,
    BacktestCounts(
        100,
        120,
        DECISIONS,
        Counter({("bad", *pair): count for pair, count in DECISIONS.items()}),
        Counter(
            {("2026-03-01", *pair): count for pair, count in DECISIONS.items()}
            | {("2026-03-02", "review", "review"): 3}
        ),
        Counter({"the signal <text> was not read": 2}),
        {("allow", "block"): [Flip(7, "allow", "block", "bad", 0.93, 1)]},
    ),
    [date(2026, 3, 1), date(2026, 3, 2)],
    errors=5,
    without_evidence=6,
)


def test_flips_are_listed_by_what_they_become() -> None:
    assert list(flip_counts(RESULT).items()) == [
        (("allow", "block"), 4),
        (("review", "block"), 1),
        (("block", "allow"), 2),
    ]
    assert (
        sentence(RESULT, PLAN)
        == "p@4 decides 7 of 98 images (7.1 %) otherwise than the archived decisions. 2 are not computable."
    )
    assert "no such images" in sentence(BacktestResult(None, None), PLAN)


def test_both_sides_of_a_category_and_of_a_day_count_the_same_images() -> None:
    assert category_rows(RESULT) == [("bad", 4, 6, 5, 2)]
    assert day_rows(RESULT) == [("2026-03-01", 100, 1, 0, 3, 6, 2), ("2026-03-02", 3, 3, 3, 0, 0, 0)]


def test_programs_get_all_counts() -> None:
    record = json.loads(json.dumps(record_of(RESULT, PLAN)))
    assert sum(row["images"] for row in record["decisions"]) == record["images"] == 100
    assert (record["flips"], record["not_computable"], record["errors"], record["without_evidence"]) == (
        7,
        2,
        5,
        6,
    )
    assert record["digest"] == POLICY.digest
    assert record["samples"] == [
        {"verdict_id": 7, "before": "allow", "after": "block", "category": "bad", "score": 0.93}
    ]


def test_the_report_says_the_same() -> None:
    items = {("allow", "block"): [SheetItem(None, "order-1 <b>", ["bad: score now 0.930"])]}
    page = backtest_report(RESULT, PLAN, items, [("policy", "p@4")]).html()
    for text in (
        "p@4 against the archived decisions",
        "7 of 98 images",
        "the signal &lt;text&gt; was not read",
        "order-1 &lt;b&gt;",
        "To review, by day",
        "allow → block: 1 of 4",
    ):
        assert text in page, text
    assert backtest_report(BacktestResult(None, None), PLAN, {}).html()
