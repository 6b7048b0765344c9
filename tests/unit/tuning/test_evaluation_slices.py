import numpy as np
import pytest

from moderator.tuning.evaluation_slices import EMPTY, OTHER, SLICES_MAX, slices_by


def test_a_slice_is_compared_with_the_rest() -> None:
    values = ["shop"] * 40 + ["forum"] * 60
    unsafe = np.tile([True, False, False, False], 25)
    flagged = np.zeros(100, dtype=bool)
    flagged[:20] = True  # half of the shop's
    found = slices_by("source", values, unsafe, flagged)
    assert found.column == "source"
    forum, shop = found.slices
    assert (shop.value, shop.safe, shop.unsafe) == ("shop", 30, 10)
    assert shop.alarms.value == shop.missed.value == 0.5
    assert (shop.alarms_gap.value, shop.missed_gap.value) == (0.5, -0.5)
    assert shop.alarms_gap.low is not None
    assert shop.alarms_gap.low > 0
    assert forum.alarms_gap.value == pytest.approx(-0.5)


def test_a_slice_without_safe_images_has_no_share_of_false_alarms() -> None:
    found = slices_by("kind", ["a", "b"], np.array([True, False]), np.array([True, False]))
    by_name = {one.value: one for one in found.slices}
    assert by_name["a"].alarms.value is None
    assert by_name["a"].alarms_gap.value is None
    assert by_name["a"].missed.value == 0


def test_rare_values_are_joined_and_empty_ones_named() -> None:
    values = ["", " ", *(str(n % 500) for n in range(1000))]
    found = slices_by("id", values, np.zeros(1002, dtype=bool), np.zeros(1002, dtype=bool))
    names = [one.value for one in found.slices]
    assert len(names) == SLICES_MAX + 1
    assert names[-1] == OTHER
    assert EMPTY in names
    assert sum(one.safe for one in found.slices) == 1002
