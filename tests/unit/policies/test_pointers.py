import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.policies.loader import parse_pointers
from moderator.policies.pointer_schema import Pointer
from moderator.policies.pointers import with_pointer

FILE = """\
# which versions decide
market:   # the shop
  active: 1   # since May
  shadow: [2]
# family comes last
family: {active: 1}  # calm
"""


def test_only_the_number_changes() -> None:
    changed = with_pointer(FILE, "market", Pointer(active=3, shadow=(2,)))
    assert changed == FILE.replace("active: 1   #", "active: 3   #")
    assert with_pointer(FILE, "family", Pointer(active=2)) == FILE.replace("{active: 1}", "{active: 2}")


def test_a_changed_entry_keeps_the_comments_of_the_others() -> None:
    changed = with_pointer(FILE, "market", Pointer(active=2))
    assert parse_pointers(changed) == {"market": Pointer(active=2), "family": Pointer(active=1)}
    assert "# which versions decide\n" in changed
    assert "\n# family comes last\nfamily: {active: 1}  # calm\n" in changed


def test_a_new_entry_is_added_at_the_end() -> None:
    assert with_pointer(FILE, "art", Pointer(active=4)) == FILE + "art: {active: 4}\n"
    assert with_pointer("", "art", Pointer(active=4)) == "art: {active: 4}\n"
    assert with_pointer("a: {active: 1}", "art", Pointer(active=4)) == "a: {active: 1}\nart: {active: 4}\n"


@pytest.mark.parametrize(
    "text", ["{market: {active: 1}}", "a: &x {active: 1}\nb: *x\n", "---\na: {active: 1}\n...\n"]
)
def test_other_layouts_end_up_right(text: str) -> None:
    wanted = {**parse_pointers(text), "b": Pointer(active=2)}
    assert parse_pointers(with_pointer(text, "b", Pointer(active=2))) == wanted


POINTERS = st.builds(
    lambda active, others, percent: Pointer.model_validate(
        {
            "active": active,
            "shadow": [v for v in others if v != active],
            "canary": {"version": active + 1, "percent": percent} if percent is not None else None,
        }
    ),
    st.integers(1, 99),
    st.lists(st.integers(1, 99), max_size=3, unique=True),
    st.none() | st.floats(0, 100).map(lambda x: round(x, 3)),
)


@given(
    st.dictionaries(st.sampled_from(["a", "b-c", "0d"]), POINTERS), st.sampled_from(["a", "b-c"]), POINTERS
)
def test_round_trip(pointers: dict[str, Pointer], name: str, pointer: Pointer) -> None:
    text = "# top\n"
    for n, p in pointers.items():
        text = with_pointer(text, n, p)
    assert parse_pointers(text) == pointers
    assert parse_pointers(with_pointer(text, name, pointer)) == {**pointers, name: pointer}
