"""Tests of differences, against published values and those of another library."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderator.tuning.rate_tests import fisher_exact, holm
from tests.support.tools import needs_extra

groups = st.integers(0, 80).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


def test_the_lady_tasting_tea() -> None:
    """Fisher (1935) has 17/70 for one side."""
    assert fisher_exact((3, 4), (1, 4)) == pytest.approx(2 * 17 / 70)


@settings(max_examples=50)
@given(groups, groups)
def test_it_is_that_of_scipy(first: tuple[int, int], second: tuple[int, int]) -> None:
    needs_extra("scipy.stats", "tuning")
    from scipy.stats import fisher_exact as reference

    table = [[hits, total - hits] for hits, total in (first, second)]
    assert fisher_exact(first, second) == pytest.approx(reference(table).pvalue, rel=1e-6)


def test_large_groups_take_no_longer() -> None:
    assert fisher_exact((60_000, 1_000_000), (50_000, 1_000_000)) < 1e-100
    assert fisher_exact((0, 0), (3, 9)) == 1.0


def test_holm_adjusts_the_smallest_most() -> None:
    assert holm([0.01, 0.04, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
