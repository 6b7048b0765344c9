from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_files import point, write, write_released

from moderator.errors import PolicyChanged, PolicyInvalid, PolicyUnreleased
from moderator.policies.loader import parse_pointers
from moderator.policies.pointers import activate, read_pointers, with_pointer
from moderator.policies.schema import Pointer

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


def test_activate(tmp_path: Path) -> None:
    write_released(tmp_path)
    assert activate(tmp_path, "market", 1) == Pointer(active=1)
    point(tmp_path, "market: {active: 1, shadow: [2, 3], canary: {version: 2, percent: 5}}")
    assert activate(tmp_path, "market", 2) == Pointer(active=2, shadow=(3,))
    assert read_pointers(tmp_path) == {"market": Pointer(active=2, shadow=(3,))}
    point(tmp_path, "market: {active: 1, canary: {version: 2, percent: 5}}")
    assert activate(tmp_path, "market", 3).canary is not None


def test_only_released_versions_are_activated(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(PolicyUnreleased, match="moderator policy release market@1"):
        activate(tmp_path, "market", 1)
    write_released(tmp_path, versions=1)
    write(tmp_path, block=0.9)
    with pytest.raises(PolicyChanged):
        activate(tmp_path, "market", 1)
    assert not (tmp_path / "active.yaml").exists()


def test_a_broken_pointer_file_is_not_overwritten(tmp_path: Path) -> None:
    write_released(tmp_path)
    point(tmp_path, "market: 7")
    with pytest.raises(PolicyInvalid):
        activate(tmp_path, "market", 1)
    assert (tmp_path / "active.yaml").read_text() == "market: 7"
