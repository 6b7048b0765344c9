import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moderator.policies.category_schema import Category, Rule
from moderator.policies.fields import MAX_CATEGORIES, MAX_PROMPT, MAX_PROMPTS, MAX_TEMPLATES, fill
from moderator.policies.pointer_schema import Pointer, canary_picks
from moderator.policies.schema import Policy
from moderator.view import ViewPlan


def content(**changes: Any) -> dict[str, Any]:
    base = {
        "name": "market",
        "version": 3,
        "safe": ["a landscape"],
        "categories": {"weapons": {"unsafe": ["a gun", "a rifle"]}},
    }
    return base | changes


def problems(data: dict[str, Any], model: Any = Policy) -> dict[tuple[Any, ...], str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    return {e["loc"]: e["msg"] for e in caught.value.errors()}


def test_defaults() -> None:
    policy = Policy.model_validate(content())
    category = policy.categories["weapons"]
    assert (category.rule, category.block, category.review, category.safe) == (
        Rule.SOFTMAX_SUM,
        0.5,
        None,
        (),
    )
    assert (policy.templates, policy.signals, policy.description) == (("{}",), (), "")
    assert policy.reference == "market@3"
    assert policy.prompt_count == 3


def test_is_frozen() -> None:
    policy = Policy.model_validate(content())
    with pytest.raises(ValidationError):
        policy.version = 4  # type: ignore[misc]


def test_canonical_form_is_pinned() -> None:
    # Released digests rest on this form: it may not change.
    policy = Policy.model_validate(content(description="Größe", safe=["ein Löffel"]))
    assert policy.canonical().decode() == (
        '{"categories":{"weapons":{"block":0.5,"review":null,"rule":"softmax-sum","safe":[],'
        '"unsafe":["a gun","a rifle"]}},"name":"market","safe":["ein Löffel"],"signals":[],'
        '"templates":["{}"],"version":3}'
    )
    assert policy.digest == hashlib.sha256(policy.canonical()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 4},
        {"name": "shop"},
        {"safe": ["a landscape", "a chair"]},
        {"templates": ["a photo of {}"]},
        {"categories": {"weapons": {"unsafe": ["a rifle", "a gun"]}}},
        {"categories": {"weapons": {"unsafe": ["a gun", "a rifle"], "block": 0.51}}},
        {"categories": {"weapons": {"unsafe": ["a gun", "a rifle"], "review": 0.4}}},
        {"categories": {"weapons": {"unsafe": ["a gun", "a rifle"], "rule": "margin"}}},
        {"categories": {"weapons": {"unsafe": ["a gun", "a rifle"], "midpoint": 0.4}}},
        {"categories": {"arms": {"unsafe": ["a gun", "a rifle"]}}},
    ],
)
def test_digest_covers_what_can_change_a_verdict(change: dict[str, Any]) -> None:
    assert Policy.model_validate(content(**change)).digest != Policy.model_validate(content()).digest


def test_digest_does_not_cover_description_and_spacing() -> None:
    other = content(description="Other words", safe=["  a \n landscape "])
    assert Policy.model_validate(other).digest == Policy.model_validate(content()).digest


SLUGS = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,5})?", fullmatch=True)
TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12),
    min_size=1,
    max_size=4,
    unique_by=lambda t: t.casefold(),
)
CATEGORIES = st.fixed_dictionaries(
    {"unsafe": TEXTS},
    optional={
        "safe": TEXTS,
        "rule": st.sampled_from([r.value for r in Rule]),
        "block": st.floats(0.5, 1),
        "review": st.floats(0.01, 0.49),
    },
)
POLICIES = st.fixed_dictionaries(
    {
        "name": SLUGS,
        "version": st.integers(1, 999_999),
        "safe": TEXTS,
        "categories": st.dictionaries(SLUGS, CATEGORIES, min_size=1, max_size=4),
    },
    optional={"description": st.text(max_size=20), "templates": st.just(["a photo of {}", "{}"])},
)


def shuffled(data: Any, seed: int) -> Any:
    if not isinstance(data, dict):
        return data
    keys = sorted(data, key=lambda k: hashlib.sha256(f"{seed}{k}".encode()).digest())
    return {k: shuffled(data[k], seed) for k in keys}


def valid(data: dict[str, Any]) -> Policy | None:
    try:
        return Policy.model_validate(data)
    except ValidationError:
        return None  # normalisation (NFC) can make two texts the same


@given(POLICIES, st.integers())
def test_canonical_form_does_not_depend_on_key_order(data: dict[str, Any], seed: int) -> None:
    policy = valid(data)
    other = valid(shuffled(data, seed) | {"description": "another"})
    assert (policy and policy.canonical()) == (other and other.canonical())
    if policy and other:
        assert list(policy.categories) == list(other.categories), "one digest, one order"


@given(POLICIES)
def test_canonical_form_is_a_fixed_point(data: dict[str, Any]) -> None:
    if policy := valid(data):
        again = Policy.model_validate_json(policy.canonical())
        assert again.canonical() == policy.canonical()
        assert again == policy.model_copy(update={"description": ""})
        assert json.loads(policy.canonical())["name"] == data["name"]


@pytest.mark.parametrize("name", ["Market", "a b", "../x", "", "-a", "a--b", "a-", "a\n", "ä", "x" * 65])
def test_names_are_slugs(name: str) -> None:
    assert ("name",) in problems(content(name=name))
    with pytest.raises(ValidationError):
        Policy.model_validate(content(categories={name: {"unsafe": ["a gun"]}}))


@pytest.mark.parametrize("version", [0, -1, True, "3", 1.0, 1_000_000, None])
def test_versions_are_whole_numbers(version: Any) -> None:
    assert ("version",) in problems(content(version=version))


@pytest.mark.parametrize("key", ["review", "block"])
@pytest.mark.parametrize("value", [0, -0.1, 1.01, 80, True, "0.8", float("nan"), float("inf")])
def test_thresholds_are_in_range(key: str, value: Any) -> None:
    assert (key,) in problems({"unsafe": ["a gun"], key: value}, Category)


def test_review_is_below_block() -> None:
    assert (
        "not below block 0.5 (the default)"
        in problems({"unsafe": ["x"], "review": 0.5}, Category)[("review",)]
    )
    assert (
        "not below block 0.4;"
        in problems({"unsafe": ["x"], "review": 0.5, "block": 0.4}, Category)[("review",)]
    )


@pytest.mark.parametrize("value", [0, 1, -0.1, 80, True, "0.3", float("nan")])
def test_midpoints_are_in_range(value: Any) -> None:
    assert ("midpoint",) in problems({"unsafe": ["a gun"], "midpoint": value}, Category)


@pytest.mark.parametrize("rule", ["softmax-mean", "softmax-max", "sigmoid"])
def test_a_midpoint_needs_scores_that_sum_to_1(rule: str) -> None:
    found = problems({"unsafe": ["a gun"], "rule": rule, "midpoint": 0.3}, Category)[("midpoint",)]
    assert f"this is {rule}" in found


def test_the_default_midpoint_is_no_part_of_the_digest() -> None:
    prompts = ["a gun", "a rifle"]
    said = Policy.model_validate(content(categories={"weapons": {"unsafe": prompts, "midpoint": 0.5}}))
    assert said.digest == Policy.model_validate(content()).digest


@pytest.mark.parametrize("template", ["a photo", "{} {}", "{0}", "{prompt}"])
def test_templates_have_one_slot(template: str) -> None:
    assert "write it once" in problems(content(templates=["{}", template]))[("templates", 1)]


def test_braces_in_prompts_mean_nothing() -> None:
    assert fill("a photo of {}", "{0.__class__} {} {x") == "a photo of {0.__class__} {} {x"


@pytest.mark.parametrize("prompt", ["", "  ", "x" * (MAX_PROMPT + 1), "a\x07b", 3, None, True])
def test_prompts_are_text(prompt: Any) -> None:
    assert ("categories", "w", "unsafe", 1) in problems(content(categories={"w": {"unsafe": ["ok", prompt]}}))


def test_duplicates_are_refused_whatever_their_case() -> None:
    found = problems(content(safe=["a Landscape", "a chair", "A  landscape"]))
    assert "already item 1" in found[("safe", 2)]


@pytest.mark.parametrize("rule", [r for r in Rule if r is not Rule.SIGMOID])
def test_rules_that_compare_need_safe_prompts(rule: Rule) -> None:
    category = {"unsafe": ["a gun"], "rule": rule.value}
    assert "there are none" in problems(content(safe=[], categories={"w": category}))[("categories", "w")]
    Policy.model_validate(content(safe=[], categories={"w": category | {"safe": ["a toy"]}}))
    Policy.model_validate(content(safe=["a toy"], categories={"w": category}))


def test_sigmoid_needs_no_safe_prompts() -> None:
    Policy.model_validate(content(safe=[], categories={"w": {"unsafe": ["a gun"], "rule": "sigmoid"}}))


def test_all_problems_are_told_at_once() -> None:
    found = problems(
        content(
            safe=[],
            categories={
                "a": {"unsafe": ["x", "X"], "block": 2, "colour": 1},
                "b": {"unsafe": ["x"]},
                "c": {"unsafe": ["x"], "rule": "sigmoid", "review": 0.9},
            },
            signals=["hash"],
        )
    )
    assert set(found) == {
        ("categories", "a"),
        ("categories", "a", "unsafe", 1),
        ("categories", "a", "block"),
        ("categories", "a", "colour"),
        ("categories", "b"),
        ("categories", "c", "review"),
        ("signals", 0),
    }


def test_bounds() -> None:
    many = [f"thing {n}" for n in range(MAX_PROMPTS)]
    assert ("categories",) in problems(content(categories={"w": {"unsafe": many}}))
    Policy.model_validate(content(categories={"w": {"unsafe": many[:-1]}}))
    assert ("safe",) in problems(content(safe=[*many, "one more"]))
    assert ("templates",) in problems(content(templates=[f"{n} {{}}" for n in range(MAX_TEMPLATES + 1)]))
    assert ("categories",) in problems(
        content(categories={f"c{n}": {"unsafe": ["x"]} for n in range(MAX_CATEGORIES + 1)})
    )
    assert ("categories",) in problems(content(categories={}))


SIGNAL = {"name": "known", "kind": "hash-list", "file": "lists/bad.pdq", "sha256": "0" * 64}


def with_signal(signal: dict[str, object], **category: object) -> dict[str, object]:
    return content(signals=[signal], categories={"known": {"signal": "known", **category}})


def test_a_category_of_a_signal() -> None:
    policy = Policy.model_validate(with_signal({**SIGNAL, "distance": 20}, block=0.9))
    assert policy.signals[0].options == {"distance": 20}
    assert json.loads(policy.canonical())["categories"]["known"] == {
        "signal": "known",
        "review": None,
        "block": 0.9,
    }


def test_the_digest_covers_a_signals_options_and_the_content_of_its_file() -> None:
    texts = [SIGNAL, {**SIGNAL, "distance": 20}, {**SIGNAL, "sha256": "1" * 64}, {**SIGNAL, "kind": "text"}]
    assert len({Policy.model_validate(with_signal(text)).digest for text in texts}) == len(texts)


def test_without_signals_the_canonical_form_knows_no_key_of_them() -> None:
    canonical = json.loads(Policy.model_validate(content()).canonical())
    assert canonical["signals"] == []
    assert all("signal" not in category for category in canonical["categories"].values())


def test_signals_of_one_meaning_have_one_key() -> None:
    one, other = (
        Policy.model_validate(with_signal({**SIGNAL, "distance": 20, **change})).signals[0].key
        for change in ({}, {"file": "other.pdq"})
    )
    assert one == other != Policy.model_validate(with_signal(SIGNAL)).signals[0].key


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (with_signal({**SIGNAL, "name": "other"}), ("categories", "known", "signal"), "no signal 'known'"),
        (
            content(categories={"known": {"signal": "known"}}),
            ("categories", "known", "signal"),
            "no 'signals:'",
        ),
        (with_signal(SIGNAL, unsafe=["a gun"]), ("categories", "known", "unsafe"), "remove one of the two"),
        (with_signal(SIGNAL, rule="sigmoid"), ("categories", "known", "rule"), "remove one of the two"),
        (with_signal({**SIGNAL, "sha256": None}), ("signals", 0, "sha256"), "pins the content"),
        (with_signal({**SIGNAL, "file": None}), ("signals", 0, "sha256"), "pins no file"),
        (with_signal({**SIGNAL, "file": "../bad.pdq"}), ("signals", 0, "file"), "below the folder"),
        (with_signal({**SIGNAL, "file": "/bad.pdq"}), ("signals", 0, "file"), "below the folder"),
        (content(signals=[SIGNAL, SIGNAL]), ("signals", 1, "name"), "choose another"),
    ],
)
def test_what_is_wrong_with_signals(text: dict[str, object], place: tuple[object, ...], words: str) -> None:
    assert words in problems(text)[place]


def test_pointers() -> None:
    pointer = Pointer.model_validate({"active": 3, "shadow": [4, 5], "canary": {"version": 4, "percent": 5}})
    assert pointer.shadow == (4, 5)
    assert ("shadow", 0) in problems({"active": 3, "shadow": [3]}, Pointer)
    assert ("shadow", 1) in problems({"active": 3, "shadow": [4, 4]}, Pointer)
    assert ("canary", "version") in problems({"active": 3, "canary": {"version": 3, "percent": 5}}, Pointer)
    assert ("canary", "percent") in problems({"active": 3, "canary": {"version": 4, "percent": 101}}, Pointer)
    # With a canary, the active version may look on where the canary decides.
    Pointer.model_validate({"active": 3, "shadow": [3], "canary": {"version": 4, "percent": 5}})


@given(st.text(), SLUGS, st.floats(0, 100), st.floats(0, 100))
def test_canary_is_monotone(key: str, name: str, one: float, two: float) -> None:
    low, high = sorted((one, two))
    assert canary_picks(key, name, high) or not canary_picks(key, name, low)
    assert canary_picks(key, name, 100)
    assert not canary_picks(key, name, 0)


def test_canary_share_and_independence() -> None:
    keys = [f"web:{n}" for n in range(20_000)]
    first = [canary_picks(k, "market", 10) for k in keys]
    second = [canary_picks(k, "family", 10) for k in keys]
    assert sum(first) / len(keys) == pytest.approx(0.1, abs=0.01)
    assert sum(a and b for a, b in zip(first, second, strict=True)) / len(keys) == pytest.approx(
        0.01, abs=0.004
    )


def test_canary_is_the_same_everywhere() -> None:
    # Workers of different releases have to pick alike: this sequence may not change.
    assert [canary_picks(f"web:{n}", "market", 50) for n in range(8)] == [
        True,
        False,
        False,
        True,
        False,
        False,
        False,
        True,
    ]


PROBE = {
    "name": "smoke",
    "kind": "probe",
    "file": "smoke.safetensors",
    "sha256": "0" * 64,
    "unsafe": ["smoking"],
}


def test_the_rule_probe_names_a_signal_of_that_kind_and_changes_nothing() -> None:
    plain = {"signal": "smoke", "block": 0.8}
    one, other = (
        Policy.model_validate(content(signals=[PROBE], categories={"smoking": category}))
        for category in (plain, {**plain, "rule": "probe"})
    )
    assert one.digest == other.digest
    wrong = content(signals=[SIGNAL], categories={"known": {"signal": "known", "rule": "probe"}})
    assert "is of kind hash-list" in problems(wrong)["categories", "known", "rule"]
    missing = content(categories={"smoking": {"rule": "probe", "unsafe": ["a smoker"]}})
    assert ("categories", "smoking", "rule") in problems(missing)


def test_views_are_left_out_of_the_digest_by_default() -> None:
    plain = Policy.model_validate(content())
    for same in ({"views": {}}, {"views": {"most": None, "turned": False}}):
        assert Policy.model_validate(content(**same)).digest == plain.digest
    others = [Policy.model_validate(content(views=v)) for v in ({"most": 4}, {"turned": True}, {"most": 5})]
    assert len({policy.digest for policy in (plain, *others)}) == 4


def test_a_policy_asks_for_views_within_the_setting() -> None:
    asked = Policy.model_validate(content(views={"most": 4, "turned": True}))
    assert [asked.view_plan(limit) for limit in (1, 10)] == [ViewPlan(1, True), ViewPlan(4, True)]
    assert Policy.model_validate(content()).view_plan(10) == ViewPlan(10)


def test_the_classic_recipe_judges_the_whole_unless_its_policy_asks_for_views() -> None:
    classic = {"unsafe": ["smoke"], "safe": ["a plate"], "rule": "softmax-mean"}
    other = {**classic, "rule": "softmax-sum"}
    assert Policy.model_validate(content(categories={"c": classic})).view_plan(10) == ViewPlan(1)
    assert Policy.model_validate(content(categories={"c": classic, "o": other})).view_plan(10) == ViewPlan(10)
    asked = content(categories={"c": classic}, views={"most": 6})
    assert Policy.model_validate(asked).view_plan(10) == ViewPlan(6)


@pytest.mark.parametrize("views", [{"most": 0}, {"most": 65}, {"most": "3"}, {"turned": 1}, {"tiles": 4}])
def test_views_are_strict(views: dict[str, Any]) -> None:
    ((location, _),) = problems(content(views=views)).items()
    assert location == ("views", next(iter(views)))
