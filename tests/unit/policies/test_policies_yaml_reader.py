import time

import pytest

from moderator.policies.yaml_reader import MAX_ALIASES, MAX_BYTES, MAX_DEPTH, read_document


def messages(text: str | bytes) -> list[str]:
    content = text.encode() if isinstance(text, str) else text
    return [f"{f.line}: {f.message}" for f in read_document(content).faults]


def test_data_lines_and_written_values() -> None:
    document = read_document(b"a: 1\nb:\n  - x\n  - no\nc: {d: 0.5, e: 3e1}\n")
    assert document.data == {"a": 1, "b": ["x", False], "c": {"d": 0.5, "e": "3e1"}}
    assert document.line_of(("b", 1)) == 4
    assert document.line_of(("c", "d")) == 5
    assert document.line_of(("c", "z", "y")) == 5
    assert document.written == {("a",): "1", ("b", 1): "no", ("c", "d"): "0.5"}
    assert not document.faults


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1: the file is empty"),
        ("a: 1\na: 2", "2: the key stands twice, first on line 1"),
        ("a:\n\tb: 1", "2: not valid YAML: found character '\\t'"),
        ("a: [b", "close the bracket"),
        ("a: 'b", "close the bracket or quote"),
        ("a: b: c", "put text that contains a colon in quotes"),
        ("a: @b", "put text that starts with a special character in quotes"),
        ("a: *b", "put text that starts with a special character in quotes"),
        ("a: 1\n---\nb: 1", "keep one policy in a file"),
        ("on: 1", '1: YAML does not read on as text; put it in quotes: "on"'),
        ("12: 1", 'put it in quotes: "12"'),
        ("<<: {a: 1}", "merge keys are not supported"),
        ("? [a]\n: b", "a key has to be a word"),
        ("a: 2024-01-01", "YAML reads 2024-01-01 as a date"),
        ("a: 010", "YAML reads 010 as a number in a notation"),
        ("a: 1:30", "YAML reads 1:30 as a number in a notation"),
        ("a: .nan", ".nan means 'not a number', and no score can be compared"),
        ("a: =", "put it in quotes"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "the tag '!!python/object/apply:os.system' is not allowed",
        ),
        ("a: !x y", "the tag '!x' is not allowed"),
        ("a: !!set {b}", "the tag '!!set' is not allowed"),
        ("a: !!binary aGk=", "the tag '!!binary' is not allowed"),
        ('a: "\\U99999999"', "a number or escape is out of range"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1", "a number or escape is out of range"),
        (b"a: 1\nb: \xff", "2: is not UTF-8 text"),
        ("a: 1\nb: \x07", "2: contains the control character U+0007"),
        ("a: " + "x" * MAX_BYTES, "larger than 1 MB"),
        ("[" * (MAX_DEPTH + 1), f"nested more than {MAX_DEPTH} levels"),
        ("a: &a [*a]", "aliases count in full"),
        ("a: &a x\nb: [" + "*a, " * (MAX_ALIASES + 1) + "]", f"2: more than {MAX_ALIASES} aliases"),
        ("- a\n" * 50_000, "more than 20000 values"),
    ],
)
def test_says_what_is_wrong(text: str | bytes, said: str) -> None:
    assert said in "\n".join(messages(text))


def test_few_aliases_are_fine() -> None:
    assert read_document(b"a: &x [1]\nb: *x").data == {"a": [1], "b": [1]}


def test_billion_laughs_is_refused() -> None:
    lines = ["l0: &l0 [" + "x, " * 400 + "]"]
    lines += [f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}, *l{n - 1}, *l{n - 1}]" for n in range(1, 5)]
    assert "aliases count in full" in "\n".join(messages("\n".join(lines)))


@pytest.mark.parametrize(
    "text",
    ["[" + "a," * 490_000 + "]", "[" * 999_999, "version: " + "9" * 900_000, "v: " + "1:" * 400_000 + "1"],
)
def test_hostile_files_are_cheap(text: str) -> None:
    start = time.process_time()
    assert messages(text)
    assert time.process_time() - start < 5
