import pytest
from pydantic_core import PydanticCustomError

from moderator.policies.condition_parser import (
    MAX_NESTED,
    Condition,
    Joined,
    Named,
    names_in,
    parse_condition,
)

A, B, C = (Named(name) for name in "abc")
NOT_A, NOT_B = Named("a", negated=True), Named("b", negated=True)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("a", A),
        ("not a", NOT_A),
        ("not not a", A),
        ("((a))", A),
        ("a and b and c", Joined("and", (A, B, C))),
        ("a or b and c", Joined("or", (A, Joined("and", (B, C))))),
        ("(a or b) and c", Joined("and", (Joined("or", (A, B)), C))),
        ("not a and b", Joined("and", (NOT_A, B))),
        ("not (a and b)", Joined("or", (NOT_A, NOT_B))),
        ("a and (b and c)", Joined("and", (A, B, C))),
        ("c and not (a or b)", Joined("and", (C, NOT_A, NOT_B))),
        ("not (a or not b)", Joined("and", (NOT_A, B))),
        ("small-arms  or\tandroid", Joined("or", (Named("small-arms"), Named("android")))),
    ],
)
def test_precedence(text: str, condition: Condition) -> None:
    assert parse_condition(text) == condition


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a and", "ends where the name of a category is needed"),
        ("and a", "'and' where the name of a category is needed"),
        ("a b", "'b' after a complete condition"),
        ("(a or b", "not closed"),
        ("a or b)", "')' after a complete condition"),
        ("()", "')' where the name"),
        ("a AND b", "'AND' is not understood; use names of categories, and, or, not in lower case"),
        ("a & b", "'&' is not understood"),
        ("a_b", "'a_b' is not understood"),
        ("a > 0.5", "'>' is not understood"),
        ("", "ends where"),
        ("(" * 200 + "a" + ")" * 200, f"nested more than {MAX_NESTED} deep"),
        ("not " * 200 + "a", f"nested more than {MAX_NESTED} deep"),
    ],
)
def test_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        parse_condition(text)
    assert said in caught.value.message()


def test_names() -> None:
    assert list(names_in(parse_condition("b and not (a or b)"))) == ["b", "a", "b"]
