"""Many images at once are decided as each by itself."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import EmbeddingInvalid
from moderator.policies.schema import Policy, Rule
from moderator.scoring import batch_decisions
from moderator.scoring.batch_decisions import BatchDecisions, ImageBlock, decide_block
from moderator.scoring.layout import lay_out
from moderator.scoring.thresholds import SEVERITY, CompiledPolicy, judge
from moderator.view import View, rows_of
from tests.support.scoring_cases import PROMPTS, cases

SIGNALS = ("known", "text", "probe")
EXTRAS: list[dict[str, Any]] = [
    {},
    {"probe": {"signal": "probe", "weight": 0.3}},
    {"calibration": {"kind": "platt", "slope": 2.0, "offset": -0.5}},
    {"calibration": {"kind": "isotonic", "points": [[0.1, 0.0], [0.5, 0.4], [0.9, 1.0]]}},
]
VIEWS = [View("whole", 0, (0, 0, 9, 9))] + [
    View(name, 0, (0, 0, 3, 3), turn)
    for name, turn in (("trimmed", 0), ("panel", 0), ("whole", 90), ("panel", 180), ("square", 0))
]
ROW = st.lists(st.floats(-1, 1, width=16), min_size=len(PROMPTS), max_size=len(PROMPTS))


@st.composite
def policies(draw: st.DrawFn) -> CompiledPolicy:
    """Any policy, with categories of signals and conditions; prompts lie on axes, or anywhere."""
    case = draw(cases())
    bands: dict[str, Any] = {
        f"s{n}": {"signal": name, "block": draw(st.sampled_from([0.5, 1.0, "never"]))}
        for n, name in enumerate(draw(st.lists(st.sampled_from(SIGNALS), unique=True)))
    }
    words = {}
    for name, spec in case.policy.categories.items():
        words[name] = {
            **spec.model_dump(exclude_unset=True),
            "review": draw(st.sampled_from(["never", spec.block / 2])),
            "block": draw(st.sampled_from([spec.block, "never"])),
        }
        if spec.rule.is_relative:
            words[name] |= draw(st.sampled_from(EXTRAS))
    parts = st.sampled_from([part for name in (*words, *bands) for part in (name, f"not {name}")])
    joined = st.tuples(parts, st.sampled_from(["and", "or"]), parts).map(" ".join)
    conditions = {
        f"w{n}": {"when": when, "review": 0.3, "block": draw(st.sampled_from([0.5, 0.9]))}
        for n, when in enumerate(draw(st.lists(joined, max_size=2)))
    }
    policy = Policy.model_validate(
        {
            "name": "p",
            "version": 1,
            "safe": case.policy.safe,
            "categories": {**words, **bands, **conditions},
            "signals": [{"name": name, "kind": "probe" if name == "probe" else name} for name in SIGNALS],
            "views": {"turned": draw(st.booleans()), "most": draw(st.sampled_from([1, 2, 64]))},
        }
    )
    axes = np.eye(len(PROMPTS) + 1, dtype=np.float32)
    if draw(st.booleans()):
        axes = np.random.default_rng(draw(st.integers(0, 9))).standard_normal(axes.shape).astype(np.float32)
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    layout = lay_out(policy)
    matrix = axes[[PROMPTS.index(prompt) for prompt in layout.prompts]]
    return CompiledPolicy(policy, layout, matrix, case.scale, case.bias)


@st.composite
def blocks(draw: st.DrawFn) -> ImageBlock:
    """Images of one to four views, or of one to four whole frames."""
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    rows = draw(st.lists(ROW, min_size=sum(counts), max_size=sum(counts)))
    embeddings = np.array([[*row, 1] for row in rows], np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    views = None
    if draw(st.booleans()):
        views = [
            view
            for count in counts
            for view in (
                VIEWS[0],
                *draw(st.lists(st.sampled_from(VIEWS[1:]), min_size=count - 1, max_size=count - 1)),
            )
        ]
    value = st.sampled_from([0.0, 0.3, 0.5, 1.0, np.nan])
    number = len(counts)
    column = st.lists(value, min_size=number, max_size=number)
    doubts = st.lists(st.booleans(), min_size=number, max_size=number)
    return ImageBlock(
        embeddings.astype(draw(st.sampled_from([np.float16, np.float32]))),
        np.array([0, *np.cumsum(counts)]),
        views,
        {name: np.array(draw(column)) for name in draw(st.sets(st.sampled_from(SIGNALS)))},
        {name: np.array(draw(doubts)) for name in draw(st.sets(st.sampled_from(SIGNALS)))},
        draw(st.sampled_from([frozenset(), frozenset({"known"})])),
    )


def expect(compiled: CompiledPolicy, block: ImageBlock, found: BatchDecisions, close: float) -> None:
    """Compare with the judge, image by image."""
    for image in range(len(block)):
        rows = slice(block.starts[image], block.starts[image + 1])
        views = [] if block.views is None else list(block.views[rows])
        chosen = rows_of(compiled.policy.view_plan(64), views) if views else slice(None)
        read = {name: float(values[image]) for name, values in block.signals.items()}
        unsure = {name for name, values in block.unsure.items() if values[image]}
        plan = compiled.plan
        missing = {name for name in plan.depends if np.isnan(read.get(name, np.nan))}
        unknown = plan.depending_on(missing)
        judged = judge(
            compiled,
            block.embeddings[rows].astype(np.float32)[chosen],
            {name: 0.0 if name in missing else read[name] for name in plan.depends},
            unsure - missing,
            [views[row] for row in chosen] if views else (),
            block.unasked,
        )
        highest = 0
        for column, (name, category) in enumerate(judged.categories.items()):
            assert found.categories[column] == name
            if column in unknown:
                assert np.isnan(found.scores[image, column])
                assert found.levels[image, column] == -1
                continue
            level = SEVERITY.index(category.decision)
            highest = max(highest, level)
            assert found.levels[image, column] == level
            assert found.scores[image, column] == pytest.approx(category.score, rel=0, abs=close)
        assert found.decisions[image] == (-1 if unknown and highest < 2 else highest)


@given(policies(), blocks(), st.sampled_from([2, 4096]))
def test_a_block_is_decided_as_its_images_one_by_one(
    compiled: CompiledPolicy, block: ImageBlock, chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_decisions, "CHUNK_ROWS", chunk)
        expect(compiled, block, decide_block(compiled, block), 2e-6)


@pytest.mark.parametrize("rule", list(Rule))
def test_a_score_at_its_threshold_is_decided_as_the_judge_does(rule: Rule) -> None:
    """Embeddings and prompts as a model has them; thresholds that are scores of images."""
    random = np.random.default_rng(5)
    rows = random.standard_normal((20 + 12, 512)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    content = {
        "name": "p",
        "version": 1,
        "safe": PROMPTS[8:],
        "categories": {"c": {"unsafe": PROMPTS[:8], "rule": rule}},
    }
    scale, bias = (100.0, 0.0) if rule.needs_safe else (117.0, -12.9)
    block = ImageBlock(rows[12:].astype(np.float16), np.arange(21))
    first = Policy.model_validate(content)
    plain = CompiledPolicy(first, lay_out(first), rows[:12], scale, bias)
    for image in range(6):
        single = judge(plain, block.embeddings[image : image + 1].astype(np.float32))
        content["categories"]["c"]["block"] = max(single.unsafe_score, 1e-9)
        policy = Policy.model_validate(content)
        compiled = replace(plain, policy=policy, layout=lay_out(policy))
        expect(compiled, block, decide_block(compiled, block), 5e-6)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, -np.inf])
def test_what_the_judge_refuses_is_not_computable(bad: float) -> None:
    policy = Policy.model_validate(
        {"name": "p", "version": 1, "safe": ["b"], "categories": {"c": {"unsafe": ["a"], "block": 0.5}}}
    )
    compiled = CompiledPolicy(policy, lay_out(policy), np.eye(2, dtype=np.float32), 1.0, 0.0)
    rows = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], np.float16)
    rows[3, 1] = bad
    with pytest.raises(EmbeddingInvalid):
        judge(compiled, rows[2:].astype(np.float32))
    for starts in ([0, 1, 2, 4], [0, 1, 2, 3, 4]):
        found = decide_block(compiled, ImageBlock(rows, np.array(starts)))
        assert found.decisions.tolist() == [*[2, 2, 0][: len(starts) - 2], -1]
        assert np.isnan(found.scores[-1]).all()


def test_no_image_is_no_decision() -> None:
    policy = Policy.model_validate(
        {"name": "p", "version": 1, "safe": ["b"], "categories": {"c": {"unsafe": ["a"]}}}
    )
    compiled = CompiledPolicy(policy, lay_out(policy), np.eye(2, dtype=np.float32), 1.0, 0.0)
    found = decide_block(compiled, ImageBlock(np.empty((0, 2), np.float16), np.zeros(1, np.int64)))
    assert found.scores.shape == (0, 1)
    assert found.decisions.shape == (0,)
