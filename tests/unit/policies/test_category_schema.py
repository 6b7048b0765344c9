"""The keys of a category that came after prompts and thresholds: their digests, and what is refused."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from moderator.errors import PolicyInvalid
from moderator.identity import Identity
from moderator.policies.fields import MAX_MESSAGE, MAX_PROBLEMS
from moderator.policies.loader import parse_policy
from moderator.policies.schema import Policy

PLATT = {"kind": "platt", "slope": 1.5, "offset": -1}
ISOTONIC = {"kind": "isotonic", "points": [[0, 0], [0.5, 0.2], [1, 1]]}
HERE = {"id": "clip:x", "revision": "r", "preprocessing": "p"}
GUNS = {"unsafe": ["a gun", "a rifle"]}
BASE: dict[str, Any] = {
    "name": "market",
    "version": 1,
    "safe": ["a landscape", "a chair", "a lamp"],
    "signals": [
        {"name": "guns-probe", "kind": "probe", "file": "p", "sha256": "0" * 64, "unsafe": ["gun"]},
        {"name": "known", "kind": "hash-list", "file": "l", "sha256": "0" * 64},
    ],
    "categories": {"guns": GUNS, "known": {"signal": "known"}},
}


def policy(guns: dict[str, Any] | None = None, other: dict[str, Any] | None = None, **changes: Any) -> Policy:
    return parse_policy(json.dumps(content(guns, other, **changes)))


def content(
    guns: dict[str, Any] | None = None, other: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    categories = {**BASE["categories"], "guns": {**GUNS, **(guns or {})}}
    if other is not None:
        categories["other"] = other
    return {**BASE, "categories": categories, **changes}


def complaint(*args: Any, **changes: Any) -> str:
    with pytest.raises(PolicyInvalid) as caught:
        policy(*args, **changes)
    return str(caught.value)


CHANGES: list[dict[str, Any]] = [
    {"severity": "high"},
    {"severity": "low"},
    {"message": "No guns here."},
    {"calibration": PLATT},
    {"calibration": ISOTONIC},
    {"probe": {"signal": "guns-probe", "weight": 0.5}},
]


def test_each_new_key_is_in_the_digest_when_it_is_set() -> None:
    plain = policy()
    digests = {policy(change).digest for change in CHANGES}
    digests |= {
        policy(other={"when": "guns and known"}).digest,
        policy(encoders=[{**HERE, "categories": {"guns": {"block": 0.4}}}]).digest,
    }
    assert plain.digest not in digests
    assert len(digests) == len(CHANGES) + 2
    new = {"when", "probe", "calibration", "severity", "message"}
    canonical = json.loads(plain.canonical())
    assert "encoders" not in canonical
    assert not any(new & set(category) for category in canonical["categories"].values())


@pytest.mark.parametrize("change", CHANGES)
def test_the_canonical_form_is_a_fixed_point(change: dict[str, Any]) -> None:
    first = policy(
        change,
        {"when": "guns and not known", "review": 0.2},
        encoders=[{**HERE, "categories": {"guns": {"block": "never", "review": 0.3, "midpoint": 0.1}}}],
    )
    again = Policy.model_validate_json(first.canonical())
    assert again.canonical() == first.canonical()
    assert again.digest == first.digest


def test_a_condition_has_neither_prompts_nor_a_signal_in_its_canonical_form() -> None:
    canonical = json.loads(policy(other={"when": "guns  and\nknown"}).canonical())
    assert canonical["categories"]["other"] == {"when": "guns and known", "review": None, "block": 0.5}


@pytest.mark.parametrize(
    ("guns", "other", "said"),
    [
        ({"severity": "hihg"}, None, "guns.severity: 'hihg' is not a severity; did you mean 'high'?"),
        ({"message": "x" * (MAX_MESSAGE + 1)}, None, f"guns.message: has {MAX_MESSAGE + 1} characters"),
        ({"message": "a\x1b[31mb"}, None, "guns.message: contains"),
        ({"message": " "}, None, "guns.message: is empty"),
        ({"calibration": "platt"}, None, "guns.calibration: has to have keys below it"),
        ({"calibration": {"slope": 1}}, None, "guns.calibration: has no 'kind'"),
        ({"calibration": {**PLATT, "kind": "plat"}}, None, "'plat' is not a kind; did you mean 'platt'?"),
        ({"calibration": {**PLATT, "slope": 0}}, None, "calibration.slope: 0 is out of range"),
        ({"calibration": {**PLATT, "slope": -1}}, None, "calibration.slope: -1 is out of range"),
        ({"calibration": {**PLATT, "offset": float("inf")}}, None, "calibration.offset"),
        ({"calibration": {**PLATT, "points": []}}, None, "points: unknown key; allowed here: kind, slope"),
        ({"calibration": {**ISOTONIC, "points": [[0, 0]]}}, None, "calibration.points"),
        ({"calibration": {**ISOTONIC, "points": [[0, 1], [1, 0]]}}, None, "points, item 2: the calibrated"),
        ({"calibration": {**ISOTONIC, "points": [[0.5, 0], [0.5, 1]]}}, None, "does not come after 0.5"),
        ({"calibration": {**ISOTONIC, "points": [[n / 99, 0] for n in range(65)]}}, None, "at most 64"),
        ({"calibration": PLATT, "rule": "sigmoid"}, None, "calibration: goes with the rules softmax-sum"),
        ({"probe": {"signal": "guns-probe", "weight": 1}}, None, "probe.weight: 1 is out of range"),
        ({"probe": {"signal": "guns-prob", "weight": 0.5}}, None, "there is no signal 'guns-prob'"),
        ({"probe": {"signal": "known", "weight": 0.5}}, None, "is of kind hash-list, and only one of kind"),
        ({"probe": {"signal": "guns-probe", "weight": 0.5}, "rule": "softmax-mean"}, None, "probe: goes"),
        (None, {"when": "guns and weapons"}, "other.when: there is no category 'weapons'"),
        (None, {"when": "gns"}, "did you mean 'guns'?"),
        (None, {"when": "guns and other"}, "'other' is a condition itself"),
        (None, {"when": "guns and"}, "other.when: ends where"),
        (None, {"when": ["guns"]}, "other.when: is a list where a text is needed"),
        (None, {"when": "guns", "unsafe": ["a gun"]}, "other.unsafe: does not go with 'when'"),
        (None, {"when": "guns", "signal": "known"}, "other.signal: does not go with 'when'"),
        (None, {"when": "guns", "calibration": PLATT}, "other.calibration: does not go with 'when'"),
        (None, {"when": "guns", "review": 0.7}, "other.review: 0.7 is not below block 0.5"),
        (None, {"signal": "known", "probe": {"signal": "guns-probe", "weight": 0.5}}, "other.probe: goes"),
    ],
)
def test_says_what_is_wrong(guns: dict[str, Any] | None, other: dict[str, Any] | None, said: str) -> None:
    assert said in complaint(guns, other)


def test_a_calibrated_signal() -> None:
    assert policy(other={"signal": "known", "calibration": PLATT}).categories["other"].calibration is not None


def test_thresholds_of_an_encoder_take_the_place_of_the_categorys() -> None:
    scales = {"guns": {"midpoint": 0.1, "block": 0.4}, "known": {"calibration": PLATT, "block": "never"}}
    tuned = policy(
        {"calibration": ISOTONIC, "review": 0.2, "message": "No guns here."},
        encoders=[{**HERE, "categories": scales}, {**HERE, "revision": "s", "categories": scales}],
    )
    there = tuned.categories_on(Identity("clip:x", "s", "p"))
    assert there is not None
    guns = there["guns"]
    assert (guns.midpoint, guns.calibration, guns.review, guns.block) == (0.1, None, None, 0.4)
    assert guns.message == "No guns here."
    assert there["known"].calibration is not None
    assert tuned.categories_on(Identity("clip:x", "s", "other")) is None
    assert policy().categories_on(Identity("clip:x", "s", "other")) == policy().categories


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"guns": {"review": 0.2}}, "guns.block, item 1: is missing"),
        ({"guns": {"block": 0.4, "review": 0.4}}, "guns.review, item 1: 0.4 is not below block 0.4"),
        ({"guns": {"block": 0.4, "colour": 1}}, "allowed here: midpoint, calibration, review, block"),
        ({"gun": {"block": 0.4}}, "there is no category 'gun'; did you mean 'guns'?"),
        ({"known": {"block": 0.4, "midpoint": 0.3}}, "known.midpoint, item 1: goes with prompts"),
        ({"both": {"block": 0.4, "calibration": PLATT}}, "both.calibration, item 1: does not go with"),
        ({}, "encoders.categories, item 1"),
    ],
)
def test_says_what_is_wrong_with_an_encoder(entry: dict[str, Any], said: str) -> None:
    conditions = {**BASE["categories"], "both": {"when": "guns and known"}}
    assert said in complaint(categories=conditions, encoders=[{**HERE, "categories": entry}])


def test_an_encoder_is_listed_once_and_named_in_full() -> None:
    entry = {**HERE, "categories": {"guns": {"block": 0.4}}}
    assert "encoders, item 2: is the same encoder as item 1" in complaint(encoders=[entry, entry])
    assert "encoders.revision, item 1: is missing" in complaint(
        encoders=[{key: value for key, value in entry.items() if key != "revision"}]
    )


def test_a_file_of_unknown_names_is_refused_quickly() -> None:
    """Comparing long names takes long, so few get a hint, and not all are reported."""
    known = {f"{'a' * 50}{n}": GUNS for n in range(300)}
    entry = {f"{'b' * 25}{'a' * 25}{n}": {"block": 0.5} for n in range(1000)}
    start = time.process_time()
    model = {**BASE, "signals": [], "categories": known, "encoders": [{**HERE, "categories": entry}]}
    with pytest.raises(ValidationError) as caught:
        Policy.model_validate(model)
    assert caught.value.error_count() == MAX_PROBLEMS
    assert time.process_time() - start < 5


INNER = [
    "kind",
    "slope",
    "offset",
    "points",
    "signal",
    "weight",
    "id",
    "categories",
    "guns",
    "block",
    "platt",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats(-1, 2)
    | st.text("ab()- ornt", max_size=8)
    | st.sampled_from(["platt", "isotonic", "guns", "not guns", "guns-probe", "high"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(["when", "probe", "calibration", "severity", "message", "encoders"]), VALUES)
def test_anything_below_a_new_key_is_a_policy_or_explained(key: str, value: Any) -> None:
    changes = {key: value} if key == "encoders" else {}
    problems: tuple[Any, ...] = ()
    try:
        parse_policy(json.dumps(content(None if changes else {key: value}, **changes)))
    except PolicyInvalid as error:
        problems = error.args
    assert [str(problem) for problem in problems if not str(problem).startswith("policy:1: ")] == []
    assert [problem.message for problem in problems if "Input should" in problem.message] == []
