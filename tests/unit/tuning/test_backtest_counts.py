"""What a block of evidence counts for: which images flip, and which nobody can decide again."""

import json
import pickle
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moderator.archive.archive_records import Space
from moderator.archive.segment_file import EvidenceBlock, StoredEvidence, make_block
from moderator.errors import SegmentBroken
from moderator.identity import Identity
from moderator.policies.schema import Policy
from moderator.scoring.layout import lay_out
from moderator.scoring.thresholds import CompiledPolicy
from moderator.signals.evaluator import Signals
from moderator.signals.kinds.linear_probe import Probe
from moderator.signals.question import Question, opinion_key
from moderator.tuning.archived_images import ArchivePolicy, archive_policy
from moderator.tuning.backtest_counts import (
    SAMPLES_MAX,
    ArchivedDecisions,
    BacktestCounts,
    BacktestPlan,
    count_block,
)

SPACE = Space("model", "1", "plain", 4)
IDENTITY = Identity("model", "1", "plain")
DAY = np.datetime64("2026-03-01")
#: An image of a thing that is not allowed, one that is near it, and one of another thing.
BAD, NEAR, FINE = [1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 1.0, 0, 0]


def policy(**more: Any) -> Policy:
    categories = {"bad": {"unsafe": ["bad"], "review": 0.6, "block": 0.9}}
    content = {"name": "p", "version": 1, "safe": ["fine"], "categories": categories}
    return Policy.model_validate({**content, **more})


def compiled(policy: Policy, signals: Signals | None = None) -> ArchivePolicy:
    layout = lay_out(policy)
    axes = {"bad": [1.0, 0, 0, 0], "fine": [0, 1.0, 0, 0]}
    matrix = np.array([axes[prompt] for prompt in layout.prompts], np.float32).reshape(-1, 4)
    made = CompiledPolicy(policy, layout, matrix, 5.0, 0.0)
    return archive_policy(made, IDENTITY, signals or Signals((), IDENTITY, 4))


def block(
    *images: list[list[float]], readings: dict[int, dict[str, Any]] | None = None, **tensor: Any
) -> EvidenceBlock:
    rows = [
        StoredEvidence(
            10 + number,
            len(views),
            np.array(views, "<f2").tobytes(),
            json.dumps({"shape": [len(views), 4], **tensor}),
            json.dumps((readings or {}).get(number, {})),
        )
        for number, views in enumerate(images)
    ]
    return make_block(SPACE, rows)


def archived(levels: list[int], **more: Any) -> ArchivedDecisions:
    number = len(levels)
    facts: dict[str, Any] = {
        "wanted": np.ones(number, np.bool_),
        "levels": np.array(levels, np.int8),
        "flags": np.array(levels, np.int8)[:, None],
        "categories": ("bad",),
        "unseen": np.zeros(number, np.bool_),
        "days": np.full(number, DAY),
    }
    return ArchivedDecisions(**facts | more)


def test_flips_are_counted_by_direction_category_and_day() -> None:
    found = count_block(
        BacktestPlan(compiled(policy())), block([BAD], [NEAR], [FINE, BAD], [FINE]), archived([0, 2, 2, 0])
    )
    assert (found.images, found.rows, found.flips()) == (4, 5, 2)
    assert found.decisions == {
        ("allow", "block"): 1,
        ("block", "review"): 1,
        ("block", "block"): 1,
        ("allow", "allow"): 1,
    }
    assert found.categories == {("bad", *pair): count for pair, count in found.decisions.items()}
    assert found.days == {("2026-03-01", *pair): count for pair, count in found.decisions.items()}
    (flip,) = found.samples["allow", "block"]
    assert (flip.verdict_id, flip.category) == (10, "bad")
    assert flip.score == pytest.approx(1 / (1 + np.exp(-5)), abs=1e-3)
    assert found.reasons == {}


def test_images_that_were_not_asked_for_do_not_count() -> None:
    wanted = np.array([True, False, False])
    found = count_block(
        BacktestPlan(compiled(policy())), block([FINE], [BAD], [BAD]), archived([0, 0, 0], wanted=wanted)
    )
    assert (found.images, found.decisions) == (1, {("allow", "allow"): 1})
    assert count_block(
        BacktestPlan(compiled(policy())), block([BAD]), archived([0], wanted=np.array([False]))
    ) == (BacktestCounts())


def test_what_was_not_all_seen_is_not_allowed() -> None:
    found = count_block(
        BacktestPlan(compiled(policy())),
        block([FINE], [BAD]),
        archived([1, 1], unseen=np.array([True, True])),
    )
    assert found.decisions == {("review", "review"): 1, ("review", "block"): 1}


def test_an_embedding_of_another_encoder_decides_nothing() -> None:
    there = BacktestPlan(
        ArchivePolicy(compiled(policy()).compiled, Identity("other", "1", "plain"), {}, {}, {})
    )
    found = count_block(there, block([BAD], [FINE]), archived([2, 0]))
    assert found.decisions == {("block", "not computable"): 1, ("allow", "not computable"): 1}
    assert (found.flips(), found.samples) == (0, {})
    assert found.reasons == {"the embedding is of another encoder: model": 2}


WITH_TEXT = policy(
    categories={
        "bad": {"unsafe": ["bad"], "review": 0.6, "block": 0.9},
        "scam": {"signal": "text", "review": 0.4, "block": 0.8},
    },
    signals=[{"name": "text", "kind": "text", "words": ["scam"]}],
)


def test_a_signal_that_was_not_read_is_not_guessed() -> None:
    (spec,) = WITH_TEXT.signals
    read = {
        0: {spec.key: {"score": 0.5, "unsure": False}},
        1: {spec.key: {"error": {"type": "SignalFailed", "message": "broken"}}},
        3: {spec.key: {"score": 0.0, "unsure": True}},
    }
    found = count_block(
        BacktestPlan(compiled(WITH_TEXT)),
        block([FINE], [FINE], [BAD], [FINE], [FINE], readings=read),
        archived([0, 0, 0, 0, 0]),
    )
    assert found.decisions == {
        ("allow", "review"): 2,
        ("allow", "block"): 1,
        ("allow", "not computable"): 2,
    }
    assert found.categories["scam", "allow", "not computable"] == 3
    assert found.reasons == {"the signal text was not read": 2}, "it blocks the third image, with or without"


def test_a_probe_is_read_from_the_embeddings(tmp_path: Path) -> None:
    weight = np.array([[20, 0, 0, 0], [0, 20, 0, 0]], np.float32)
    probe = Probe(("odd", "safe"), weight, np.zeros(2, np.float32), IDENTITY, 1.0)
    (tmp_path / "odd.safetensors").write_bytes(probe.serialized())
    pinned = {"file": "odd.safetensors", "sha256": sha256(probe.serialized()).hexdigest()}
    entry = {"name": "odd", "kind": "probe", "unsafe": ["odd"], **pinned}
    probing = policy(categories={"odd": {"signal": "odd"}}, signals=[entry])
    reader = compiled(probing, Signals((tmp_path,), IDENTITY, 4))
    found = count_block(BacktestPlan(reader), block([FINE, BAD], [FINE]), archived([0, 0]))
    assert found.decisions == {("allow", "block"): 1, ("allow", "allow"): 1}


def test_a_second_opinion_counts_if_the_same_was_asked() -> None:
    asking = policy(
        categories={
            "bad": {"unsafe": ["bad"], "review": 0.6, "block": 0.9},
            "guard": {"signal": "guard", "review": 0.5, "block": 0.9},
        },
        signals=[{"name": "guard", "kind": "second-opinion", "model": "x"}],
    )
    (spec,) = asking.signals
    reader = ArchivePolicy(compiled(policy(), None).compiled, IDENTITY, {}, {}, {})
    made = CompiledPolicy(
        asking, lay_out(asking), reader.compiled.matrix, reader.compiled.scale, reader.compiled.bias
    )
    judge = BacktestPlan(ArchivePolicy(made, IDENTITY, {}, {}, {"guard": spec.key}))
    asked = opinion_key(spec.key, (Question("bad", ("bad",), ()),))
    other = opinion_key(spec.key, (Question("bad", ("worse",), ()),))
    read = {
        0: {asked: {"score": 0.0, "clears": ["bad"]}},
        1: {asked: {"score": 0.95}},
        2: {asked: {"error": {"type": "SignalBusy", "message": "the share is used up"}}},
        3: {other: {"score": 0.0, "clears": ["bad"]}},
    }
    images = [[NEAR], [NEAR], [NEAR], [NEAR], [BAD], [FINE]]
    found = count_block(judge, block(*images, readings=read), archived([1] * 6))
    assert found.decisions == {
        ("review", "allow"): 2,
        ("review", "block"): 2,
        ("review", "review"): 1,
        ("review", "not computable"): 1,
    }
    assert found.reasons == {"no second opinion was asked": 1}


def test_views_are_chosen_as_the_policy_asks() -> None:
    views = [
        {"name": "whole", "frame": 0, "box": [0, 0, 9, 9], "turn": 0},
        {"name": "panel", "frame": 0, "box": [0, 0, 4, 9], "turn": 0},
    ]
    shown = block([FINE, BAD], views=views)
    for most, decision in ((1, "allow"), (2, "block")):
        plan = BacktestPlan(compiled(policy(views={"most": most})))
        assert count_block(plan, shown, archived([0])).decisions == {("allow", decision): 1}
    with pytest.raises(SegmentBroken, match="verdict 10"):
        count_block(BacktestPlan(compiled(policy())), block([FINE], views=views), archived([0]))


def test_two_policies_can_be_compared() -> None:
    categories = {"other": {"unsafe": ["bad"], "block": 0.5}, "bad": {"unsafe": ["bad"], "block": "never"}}
    plan = BacktestPlan(compiled(policy()), compiled(policy(version=2, categories=categories)))
    found = count_block(plan, block([BAD], [NEAR], [FINE]), archived([0, 0, 0]))
    assert found.decisions == {
        ("block", "block"): 1,
        ("block", "review"): 1,
        ("allow", "allow"): 1,
    }
    assert found.categories["other", "block", "allow"] == 2, "a category that is gone flags nothing"


def test_parts_add_up_to_the_whole_in_any_order_and_travel() -> None:
    random = np.random.default_rng(3)
    rows = random.standard_normal((200, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    levels = random.integers(0, 3, 200).tolist()
    plan = pickle.loads(pickle.dumps(BacktestPlan(compiled(policy()))))
    whole = count_block(plan, block(*rows[:, None].tolist()), archived(levels))

    parts = []
    for at in range(0, 200, 50):
        part = block(*rows[at : at + 50, None].tolist())
        part.verdict_ids[:] += at
        parts.append(count_block(plan, part, archived(levels[at : at + 50])))
    sums = []
    for order in (parts, parts[::-1]):
        total = BacktestCounts()
        for one in order:
            total.add(pickle.loads(pickle.dumps(one)))
        sums.append(total)
    assert sums[0] == sums[1] == whole
    assert max(map(len, whole.samples.values())) == SAMPLES_MAX
