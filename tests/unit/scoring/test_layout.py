import numpy as np

from moderator.policies.category_schema import Rule
from moderator.policies.schema import Policy
from moderator.scoring.layout import lay_out

POLICY = Policy.model_validate(
    {
        "name": "market",
        "version": 1,
        "safe": ["a chair", "a plate"],
        "categories": {
            "weapons": {
                "unsafe": ["a gun", "a knife"],
                "safe": ["a toy", "a plate"],
                "review": 0.4,
                "midpoint": 0.3,
            },
            "alcohol": {"unsafe": ["beer"], "rule": "softmax-mean", "block": 0.7},
        },
    }
)


def side(layout: object, category: int, unsafe: bool) -> list[str]:
    pairs = np.flatnonzero((layout.category == category) & (layout.unsafe == unsafe))
    return [layout.prompts[row] for row in layout.gather[pairs]]


def test_every_distinct_prompt_is_one_row() -> None:
    layout = lay_out(POLICY)
    assert sorted(layout.prompts) == ["a chair", "a gun", "a knife", "a plate", "a toy", "beer"]


def test_a_category_looks_at_its_own_prompts_and_the_shared_ones() -> None:
    layout = lay_out(POLICY)
    assert layout.categories == ("alcohol", "weapons")
    assert side(layout, 0, True) == ["beer"]
    assert side(layout, 0, False) == ["a chair", "a plate"]
    assert side(layout, 1, True) == ["a gun", "a knife"]
    assert side(layout, 1, False) == ["a chair", "a plate", "a toy"], "in both lists, and counted once"
    assert layout.sizes.tolist() == [[1, 2], [2, 3]]


def test_halves_and_starts_part_the_pairs() -> None:
    layout = lay_out(POLICY)
    assert layout.halves.tolist() == [0, 1, 3, 5]
    assert layout.starts.tolist() == [0, 3]
    assert len(layout.gather) == len(layout.category) == len(layout.unsafe) == 8


def test_thresholds_and_rules() -> None:
    layout = lay_out(POLICY)
    assert layout.block.tolist() == [0.7, 0.5], "to the last digit, as the file has them"
    assert layout.review.tolist() == [np.inf, 0.4]
    assert layout.midpoint.tolist() == [0.5, np.float32(0.3)]
    assert {rule: which.tolist() for rule, which in layout.rules.items()} == {
        Rule.SOFTMAX_MEAN: [0],
        Rule.SOFTMAX_SUM: [1],
    }


def test_a_side_without_prompts_points_past_the_end() -> None:
    categories = {"red": {"unsafe": ["a red thing"], "rule": "sigmoid"}}
    layout = lay_out(Policy.model_validate({"name": "p", "version": 1, "categories": categories}))
    assert layout.gather.tolist() == [0, 1]
    assert layout.prompts == ("a red thing",)
    assert layout.sizes.tolist() == [[1, 0]]
