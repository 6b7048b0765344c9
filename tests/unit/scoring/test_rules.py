import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderator.policies.category_schema import Rule
from moderator.scoring.layout import lay_out
from moderator.scoring.rules import score, sigmoid
from tests.support.scoring_cases import COSINES, PROMPTS, Case, by_hand, cases, policy, rows

SOFTMAX = (Rule.SOFTMAX_MEAN, Rule.SOFTMAX_SUM, Rule.SOFTMAX_MAX)
#: A logit near 116 has steps of 8e-6 in float32, and a probability moves as much in proportion.
CLOSE = {"rel": 0, "abs": 3e-5}


@given(cases())
def test_scores_are_those_of_a_plain_loop(case: Case) -> None:
    scores = case.scores()
    for number, name in enumerate(case.policy.categories):
        unsafe, safe = by_hand(case, name)
        assert scores.unsafe[0, number] == pytest.approx(unsafe, **CLOSE)
        assert scores.safe[0, number] == pytest.approx(safe, **CLOSE)


@given(cases(scales=(1e-3, 100.0, 1e4), biases=(-1e4, 0.0, 1e4)))
def test_scores_lie_between_0_and_1_however_extreme_the_logits(case: Case) -> None:
    scores = case.scores()
    for values in (scores.unsafe, scores.safe, scores.probability):
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert (values <= 1 + 1e-6).all()
    assert scores.unsafe.max() <= 1
    assert scores.safe.max() <= 1


@given(cases(rules=SOFTMAX))
def test_probabilities_of_a_category_sum_to_1(case: Case) -> None:
    layout, scores = lay_out(case.policy), case.scores()
    sums = np.add.reduceat(scores.probability[0], layout.starts)
    assert sums == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rule", [Rule.SOFTMAX_SUM, Rule.MARGIN])
@given(data=st.data())
def test_the_two_scores_sum_to_1(rule: Rule, data: st.DataObject) -> None:
    scores = data.draw(cases(rules=(rule,))).scores()
    assert scores.unsafe + scores.safe == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rule", ["softmax-sum", "margin"])
def test_a_score_at_the_midpoint_becomes_one_half_and_the_order_stays(rule: str) -> None:
    cosines = [dict.fromkeys(PROMPTS, 0.1) | {"thing 0": value} for value in (0.0, 0.15, 0.16, 0.3)]
    bare = {"unsafe": ["thing 0"], "safe": ["thing 1", "thing 2"], "rule": rule}
    before = score(lay_out(policy({"c": bare})), rows(policy({"c": bare}), cosines), 50, 0).unsafe[:, 0]
    moved = policy({"c": {**bare, "midpoint": float(before[1])}})
    after = score(lay_out(moved), rows(moved, cosines), 50, 0)
    assert after.unsafe[1, 0] == pytest.approx(0.5, abs=1e-6)
    assert (np.diff(after.unsafe[:, 0]) > 0).all()
    assert after.unsafe + after.safe == pytest.approx(1, abs=1e-6)


@given(cases(rules=(Rule.SOFTMAX_MEAN,)))
def test_the_means_weighted_by_their_sizes_sum_to_1(case: Case) -> None:
    sizes, scores = lay_out(case.policy).sizes, case.scores()
    assert scores.unsafe * sizes[:, 0] + scores.safe * sizes[:, 1] == pytest.approx(1, abs=1e-5)
    assert (scores.unsafe[0] <= 1 / sizes[:, 0] + 1e-6).all(), "a threshold above 1/n is never reached"


@given(cases(rules=(Rule.SOFTMAX_SUM,), midpoints=(0.5,)))
def test_mean_and_max_follow_from_the_same_probabilities(case: Case) -> None:
    whole = case.scores()
    for rule, factor in ((Rule.SOFTMAX_MEAN, lay_out(case.policy).sizes[:, 0]), (Rule.SOFTMAX_MAX, None)):
        other = {n: c.model_copy(update={"rule": rule}) for n, c in case.policy.categories.items()}
        scores = Case(
            case.policy.model_copy(update={"categories": other}), case.cosines, case.scale, case.bias
        ).scores()
        if factor is not None:
            assert scores.unsafe * factor == pytest.approx(whole.unsafe, abs=1e-5)
        else:
            assert (scores.unsafe <= whole.unsafe + 1e-6).all()
            assert (scores.unsafe * lay_out(case.policy).sizes[:, 0] >= whole.unsafe - 1e-5).all()


@given(cases(), st.floats(0, 0.5, width=32))
def test_more_like_all_unsafe_prompts_is_never_safer(case: Case, step: float) -> None:
    for number, (name, category) in enumerate(case.policy.categories.items()):
        only_unsafe = set(category.unsafe) - {*case.policy.safe, *category.safe}
        if only_unsafe != set(category.unsafe):
            continue
        raised = {p: c + step if p in only_unsafe else c for p, c in case.cosines.items()}
        before, after = case.scores(), Case(case.policy, raised, case.scale, case.bias).scores()
        assert after.unsafe[0, number] >= before.unsafe[0, number] - 3e-5, name
        assert after.safe[0, number] <= before.safe[0, number] + 3e-5, name


@given(
    cases(rules=(Rule.SOFTMAX_MEAN, Rule.SOFTMAX_SUM, Rule.SIGMOID, Rule.MARGIN)),
    st.sampled_from(PROMPTS),
    st.floats(0, 0.5, width=32),
)
def test_more_like_one_unsafe_prompt_is_never_safer(case: Case, prompt: str, step: float) -> None:
    raised = {**case.cosines, prompt: case.cosines[prompt] + step}
    before, after = case.scores(), Case(case.policy, raised, case.scale, case.bias).scores()
    for number, category in enumerate(case.policy.categories.values()):
        if prompt in category.unsafe and prompt not in (*case.policy.safe, *category.safe):
            assert after.unsafe[0, number] >= before.unsafe[0, number] - 3e-5


@given(cases())
def test_a_category_is_scored_as_if_it_were_alone(case: Case) -> None:
    together = case.scores()
    for number, (name, category) in enumerate(case.policy.categories.items()):
        alone = case.policy.model_copy(update={"categories": {name: category}})
        scores = Case(alone, case.cosines, case.scale, case.bias).scores()
        assert scores.unsafe[0, 0] == pytest.approx(together.unsafe[0, number], abs=1e-6)
        assert scores.safe[0, 0] == pytest.approx(together.safe[0, number], abs=1e-6)


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_categories_does_not_matter(case: Case, random: object) -> None:
    names = list(case.policy.categories)
    random.shuffle(names)
    shuffled = case.policy.model_copy(update={"categories": {n: case.policy.categories[n] for n in names}})
    scores, expected = Case(shuffled, case.cosines, case.scale, case.bias).scores(), case.scores()
    found = dict(zip(names, scores.unsafe[0], strict=True))
    for name, value in zip(case.policy.categories, expected.unsafe[0], strict=True):
        assert found[name] == pytest.approx(value, abs=1e-6)


@settings(max_examples=40)
@given(cases(), st.lists(st.lists(COSINES, min_size=12, max_size=12), min_size=1, max_size=4))
def test_a_batch_is_scored_as_its_images_one_by_one(case: Case, images: list[list[float]]) -> None:
    layout = lay_out(case.policy)
    similarities = rows(case.policy, [dict(zip(PROMPTS, image, strict=True)) for image in images])
    batch = score(layout, similarities, case.scale, case.bias)
    for n in range(len(images)):
        single = score(layout, similarities[n : n + 1], case.scale, case.bias)
        np.testing.assert_allclose(batch.unsafe[n], single.unsafe[0], atol=1e-6)
        np.testing.assert_allclose(batch.safe[n], single.safe[0], atol=1e-6)
        np.testing.assert_allclose(batch.probability[n], single.probability[0], atol=1e-6)


def test_no_images() -> None:
    layout = lay_out(policy({"c": {"unsafe": ["thing 0"]}}, ("thing 1",)))
    assert score(layout, np.empty((0, 2), np.float32), 100, 0).unsafe.shape == (0, 1)


def test_a_safe_prompt_in_both_lists_counts_once() -> None:
    def unsafe(safe: list[str]) -> float:
        p = policy({"c": {"unsafe": ["thing 0"], "safe": safe}}, ("thing 1", "thing 2"))
        return float(Case(p, dict.fromkeys(PROMPTS, 0.2), 100, 0).scores().unsafe[0, 0])

    assert unsafe(["thing 2", "thing 1"]) == unsafe([]) == pytest.approx(1 / 3)
    assert unsafe(["thing 3"]) == pytest.approx(1 / 4)


def test_sigmoid_needs_no_safe_prompts() -> None:
    p = policy({"c": {"unsafe": ["thing 0", "thing 1"], "rule": "sigmoid"}})
    scores = Case(p, dict.fromkeys(PROMPTS, 0.1) | {"thing 1": 0.2}, 100, -16).scores()
    assert scores.unsafe[0, 0] == pytest.approx(sigmoid(np.float32(4)))
    assert scores.safe[0, 0] == 0
    assert scores.similarity[0] == pytest.approx([0.1, 0.2, -1])
    assert scores.probability[0] == pytest.approx([sigmoid(-6), sigmoid(4), 0], abs=1e-6)


def test_a_category_without_safe_prompts_beside_others() -> None:
    p = policy(
        {"a": {"unsafe": ["thing 0"], "rule": "sigmoid"}, "b": {"unsafe": ["thing 1"], "safe": ["thing 2"]}}
    )
    scores = Case(p, dict.fromkeys(PROMPTS, 0.3), 20, -6).scores()
    assert scores.unsafe[0] == pytest.approx([0.5, 0.5])
    assert scores.safe[0] == pytest.approx([0, 0.5])


def test_explanations_are_probabilities_of_the_rule() -> None:
    p = policy({"c": {"unsafe": ["thing 0"], "safe": ["thing 1"], "rule": "margin"}})
    scores = Case(p, dict.fromkeys(PROMPTS, 0.0) | {"thing 0": 0.05}, 20, 3).scores()
    assert scores.similarity[0] == pytest.approx([0.05, 0])
    assert scores.probability[0] == pytest.approx([sigmoid(1), sigmoid(-1)], abs=1e-6)


@given(st.floats(width=32, allow_nan=False))
def test_the_sigmoid_never_overflows(x: float) -> None:
    with np.errstate(over="raise", invalid="raise"):
        assert 0 <= sigmoid(np.array([x], np.float32))[0] <= 1
