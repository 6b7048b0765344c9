import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from moderator.errors import PolicyInvalid
from moderator.policies.loader import line_of, load_policy, parse_pointers, parse_policy
from moderator.policies.schema import Policy
from tests.support.policy_files import TEXT, write

GOOD = TEXT.format(name="market", version=1, block=0.8)


def complaint(text: str | bytes) -> str:
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(text, "market/1.yaml")
    return str(caught.value)


def test_loads(tmp_path: Path) -> None:
    path = write(tmp_path)
    policy = load_policy(path)
    assert policy.templates == ("a photo of {}", "{}")
    assert policy.categories["weapons"].review == 0.45
    assert line_of(path, ("categories", "weapons", "block")) == 12
    assert line_of(path, ("categories", "weapons", "rule")) == 8


def test_every_problem_with_its_line_and_remedy() -> None:
    text = """\
nam: market
version: "3"
safe: [a landscape, no, 1.0]
categories:
  Big Guns:
    unsfe: [a gun, a rifle]
    rule: softmax_sum
    block: 80
  drugs:
    unsafe: a pill
    rule: probe
    review: 0,4
    block: yes
  signs:
    unsafe: [a sign: no guns]
    review: 0.6
  empty:
signals: [hash]
"""
    assert complaint(text).splitlines() == [
        "market/1.yaml:1: nam: unknown key; did you mean 'name'?",
        "market/1.yaml:2: version: '3' is not a number as needed: "
        "a version is a whole number from 1 to 999999; write 3, without quotes",
        'market/1.yaml:3: safe, item 2: YAML reads no as true or false, not as text; put it in quotes: "no"',
        'market/1.yaml:3: safe, item 3: YAML reads 1.0 as a number, not as text; put it in quotes: "1.0"',
        "market/1.yaml:5: categories.Big Guns: 'Big Guns' is not a name: "
        "use lower-case letters, digits and single hyphens; write 'big-guns'",
        "market/1.yaml:6: categories.Big Guns.unsfe: unknown key; did you mean 'unsafe'?",
        "market/1.yaml:7: categories.Big Guns.rule: 'softmax_sum' is not a rule; did you mean 'softmax-sum'? "
        "(rules: softmax-mean, softmax-sum, softmax-max, sigmoid, margin)",
        "market/1.yaml:8: categories.Big Guns.block: 80 is out of range: "
        "a threshold is a number above 0 and at most 1; write 0.8",
        "market/1.yaml:10: categories.drugs.unsafe: has to be a list; "
        "write for example 'unsafe: [a gun, a rifle]'",
        "market/1.yaml:11: categories.drugs.rule: 'probe' takes its score from a signal, not from prompts; "
        "list one of kind 'probe' in 'signals:' and write 'signal: NAME' here",
        "market/1.yaml:12: categories.drugs.review: '0,4' is not a number as needed: "
        "a threshold is a number above 0 and at most 1; write 0.4",
        "market/1.yaml:13: categories.drugs.block: yes is not a number as needed: "
        "a threshold is a number above 0 and at most 1; write for example 'block: 0.8'",
        "market/1.yaml:15: categories.signs.unsafe, item 1: YAML reads this as a key with a value because of "
        "the colon; put the whole text in quotes",
        "market/1.yaml:17: categories.empty: is empty; write a value, or remove the key",
        "market/1.yaml:18: signals, item 1: has to have keys below it; write for example 'kind: hash-list' "
        "below it, indented",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: market", "", ":3: name: is missing; write for example 'name: marketplace'"),
        ("block: 0.8", "view_allowance: -1", "an allowance is a number from 0 to 10"),
        ("block: 0.8", "block: 80%", "write 0.8"),
        ("block: 0.8", "block: [1]", "a list is not a number"),
        ("block: 0.8", "block:", ":12: categories.weapons.block: is empty"),
        ("block: 0.8", "block: 0.4", ":11: categories.weapons.review: 0.45 is not below block 0.4"),
        (
            "block: 0.8",
            "colour: red",
            "unknown key; allowed here: signal, when, unsafe, safe, rule, midpoint, view_allowance, probe, "
            "calibration, review, block, severity, message, dsa",
        ),
        ("unsafe: [a gun, a rifle]", "unsafe: []", ":9: categories.weapons.unsafe: is an empty list"),
        (
            "unsafe: [a gun, a rifle]",
            "unsafe: [a gun, [a rifle]]",
            "item 2: is a list where a text is needed",
        ),
        ("unsafe: [a gun, a rifle]", "unsafe: [a gun, '']", "item 2: is empty; write the text"),
        ("unsafe: [a gun, a rifle]", "unsafe: [a gun, ~]", "item 2: is empty; write a text"),
        (
            "name: market",
            "name: no",
            'name: YAML reads no as true or false, not as text; put it in quotes: "no"',
        ),
        ("version: 1", "version: 1.0", "write 1, without quotes"),
        ('["a photo of {}", "{}"]', "[a photo]", "write it once, where the prompt belongs"),
        ("# a comment", "\x07", "control character"),
    ],
)
def test_says_what_is_wrong(old: str, new: str, said: str) -> None:
    assert said in complaint(GOOD.replace(old, new, 1))


@pytest.mark.parametrize("text", ["- a", "just text", "3"])
def test_other_things_than_keys(text: str) -> None:
    assert "has to be a group of keys; start with 'name: marketplace'" in complaint(text)


def test_terminal_codes_in_a_file_are_not_repeated() -> None:
    assert "\x1b" not in complaint('"\\e[31mred": 1')


def test_an_endless_list_of_problems_is_cut() -> None:
    assert len(complaint("\n".join(f"key{n}: 1" for n in range(3000))).splitlines()) == 100


def test_file_contains_its_name_and_version(tmp_path: Path) -> None:
    path = write(tmp_path, "market", 1)
    other = tmp_path / "shop" / "2.yaml"
    other.parent.mkdir()
    path.rename(other)
    with pytest.raises(PolicyInvalid) as caught:
        load_policy(other)
    assert str(caught.value).splitlines() == [
        f"{other}:2: name: is 'market' in the folder 'shop'; make the two the same",
        f"{other}:3: version: is 1 in the file '2.yaml'; make the two the same",
    ]


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        load_policy(tmp_path / "market" / "1.yaml")
    os.mkfifo(tmp_path / "1.yaml")
    with pytest.raises(PolicyInvalid, match="not a regular file"):
        load_policy(tmp_path / "1.yaml")


def test_pointers() -> None:
    pointers = parse_pointers("market: {active: 3, shadow: [4]}\nfamily:\n  active: 1\n")
    assert (pointers["market"].active, pointers["market"].shadow, pointers["family"].active) == (3, (4,), 1)
    assert parse_pointers("") == {}
    with pytest.raises(PolicyInvalid) as caught:
        parse_pointers(
            "market: 3\nFamily: {activ: 1, canary: {version: 2, percent: 10%, x: 1}}", "active.yaml"
        )
    assert str(caught.value).splitlines() == [
        "active.yaml:1: market: has to have keys below it; write for example 'active: 1' below it, indented",
        "active.yaml:2: Family: 'Family' is not a name: use lower-case letters, digits and single hyphens; "
        "write 'family'",
        "active.yaml:2: Family.canary.percent: '10%' is not a number as needed: "
        "a percentage is a number from 0 to 100; write 10",
        "active.yaml:2: Family.canary.x: unknown key; allowed here: version, percent",
        "active.yaml:2: Family.activ: unknown key; did you mean 'active'?",
    ]


def accepts_or_explains(content: str | bytes) -> None:
    try:
        result: Policy | str = parse_policy(content)
    except PolicyInvalid as error:
        result = str(error)
    assert isinstance(result, Policy) or re.match(r"policy:[0-9]+: ", result)


@given(st.text() | st.binary())
def test_arbitrary_text_is_a_policy_or_invalid(content: str | bytes) -> None:
    accepts_or_explains(content)


@given(
    st.lists(
        st.sampled_from([*"\n :-[]{},#&*!|>'\"%@`?~<=\t\\", "a", "no", "1.0", "name", "  "]), max_size=30
    )
)
def test_yaml_fragments_are_a_policy_or_invalid(parts: list[str]) -> None:
    accepts_or_explains("".join(parts))


@settings(max_examples=200)
@given(st.data())
def test_damaged_policies_are_a_policy_or_invalid(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 20)))
    patch = data.draw(
        st.text(max_size=5) | st.sampled_from(["- ", "[", "{", ": ", "\n", "&a ", "*a", "!!x ", "~"])
    )
    accepts_or_explains(GOOD[:start] + patch + GOOD[end:])


KEYS = st.sampled_from(
    ["name", "version", "safe", "categories", "unsafe", "rule", "block", "templates", "x", "signals"]
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, TREES))
def test_any_tree_is_a_policy_or_invalid(tree: dict[str, object]) -> None:
    accepts_or_explains(yaml.safe_dump(tree))


def test_comments_layout_and_description_do_not_matter() -> None:
    policy = parse_policy(GOOD)
    data = yaml.safe_load(GOOD) | {"description": "other"}
    for flow in (True, False):
        assert parse_policy("# new\n" + yaml.safe_dump(data, default_flow_style=flow)).digest == policy.digest
    assert parse_policy(yaml.safe_dump(policy.model_dump(mode="json"))) == policy


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("block: 0.8", "block: .nan", ":12: categories.weapons.block: .nan means 'not a number'"),
        ("block: 0.8", "block: .NaN", "no score can be compared with that; write a number in plain decimals"),
        ("block: 0.8", "block: .inf", ".inf means infinity"),
        ("block: 0.8", "block: .inf", "or 'never'"),
        (
            "block:",
            "block\u200b:",
            ":12: categories.weapons.block<U+200B>: contains the invisible character U+200B",
        ),
        ("block: 0.8", "block: 0.8\u200b", "U+200B ZERO WIDTH SPACE at column 15"),
        ("block: 0.8", "block:\u00a00.8", "U+00A0 NO-BREAK SPACE at column 11"),
        (
            "name: market",
            "name: mar\u00adket",
            ":2: name: contains the invisible character U+00AD SOFT HYPHEN at column 10",
        ),
        ("    review", "\u00a0   review", "U+00A0 NO-BREAK SPACE"),
    ],
)
def test_what_is_not_seen_is_named_with_its_place(old: str, new: str, said: str) -> None:
    assert said in complaint(GOOD.replace(old, new, 1))
