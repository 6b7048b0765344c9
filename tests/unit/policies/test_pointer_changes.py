"""Which changes of a pointer are made, and which are refused."""

from collections.abc import Callable

import pytest

from moderator.errors import PolicyConflict
from moderator.policies.pointer_changes import (
    pointed_at,
    promoted,
    with_canary,
    with_shadow,
    without_canary,
    without_shadow,
)
from moderator.policies.pointer_schema import Canary, Pointer

CANARY = Canary(version=2, percent=5)


def test_another_version_becomes_active() -> None:
    assert pointed_at(None, 1) == Pointer(active=1)
    before = Pointer(active=1, shadow=(2, 3), canary=Canary(version=3, percent=5))
    assert pointed_at(before, 2) == Pointer(active=2, shadow=(3,), canary=before.canary)
    assert pointed_at(before, 3) == Pointer(active=3, shadow=(2,))


def test_what_is_so_already_stays_so() -> None:
    pointer = Pointer(active=1, shadow=(2, 3), canary=CANARY)
    assert with_shadow(pointer, "market", 2) == pointer
    assert without_shadow(pointer, 4) == pointer
    assert with_canary(pointer, "market", 2, 5) == pointer
    assert without_canary(Pointer(active=1), "market", 2) == Pointer(active=1)


def test_the_active_version_that_looks_on_beside_a_canary_does_not_look_on_beside_itself() -> None:
    pointer = Pointer(active=1, shadow=(1, 3), canary=CANARY)
    assert without_canary(pointer, "market", 2) == Pointer(active=1, shadow=(3,))
    assert promoted(pointer, "market", 2) == Pointer(active=2, shadow=(1, 3))
    assert promoted(pointer, "market", 3).shadow == (1,)


def test_another_canary_takes_the_place_of_the_first() -> None:
    pointer = with_canary(Pointer(active=1, canary=CANARY), "market", 3, 1.5)
    assert pointer == Pointer(active=1, canary=Canary(version=3, percent=1.5))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda p: with_shadow(p, "market", 1), "market@1 is active, and would look on beside itself"),
        (lambda p: with_canary(p, "market", 1, 5), "market@1 is active, and decides for all other events"),
        (lambda p: without_canary(p, "market", 3), "the canary is market@2, not market@3; .* market@2 --off"),
        (lambda p: promoted(p, "market", 1), "market@1 is active already"),
        (lambda p: promoted(p, "market", 4), "neither a shadow nor the canary; .*shadow market@4"),
        (lambda p: promoted(None, "market", 4), "neither a shadow nor the canary"),
    ],
)
def test_refused_changes_say_what_to_do(change: Callable[[Pointer], Pointer], why: str) -> None:
    with pytest.raises(PolicyConflict, match=why):
        change(Pointer(active=1, shadow=(3,), canary=CANARY))


def test_shadows_are_bounded() -> None:
    pointer = Pointer(active=1, shadow=tuple(range(2, 12)))
    with pytest.raises(
        PolicyConflict, match=r"10 shadows, and no more are allowed; end one: .*shadow market@2 --off"
    ):
        with_shadow(pointer, "market", 12)
