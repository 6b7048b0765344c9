"""When a breaker opens and closes: a rise that is large, of some weight, and unlikely."""

from dataclasses import replace
from fractions import Fraction
from math import comb, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderator.scoring.flood import (
    HISTORY_STRENGTH_IMAGES,
    USUAL_RATE_MIN,
    BlockCounts,
    FloodRecord,
    FloodRule,
    FloodState,
    FloodTurn,
    chance,
    describe_rise,
    next_turn,
    rise,
    usual_rate,
)

RULE = FloodRule(ratio=5.0, blocks_min=20, history_min=500, learning_seconds=3600.0, cooldown_seconds=300.0)
NOW = 10_000.0
#: Blocks 1 % as a rule, and lately 60 of 100.
FLOOD = FloodRecord(BlockCounts(10_000, 100), BlockCounts(100, 60), peak=0.02)
OPENED = replace(FLOOD, opened_at=NOW - 60)


def counts(most: int) -> st.SearchStrategy[BlockCounts]:
    return st.integers(0, most).flatmap(
        lambda images: st.integers(0, images).map(lambda blocks: BlockCounts(images, blocks))
    )


records = st.builds(
    FloodRecord,
    history=counts(100_000),
    window=counts(30_000),
    began=st.floats(0, NOW),
    peak=st.floats(0, 1),
    opened_at=st.none() | st.floats(0, NOW),
    calm_since=st.none() | st.floats(0, NOW),
)


def test_a_jump_opens() -> None:
    assert next_turn(FLOOD, RULE, NOW) is FloodTurn.OPEN
    assert describe_rise(FLOOD) == "60 of the last 100 images were blocked (60.0%), usually 1.0%"


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(replace(FLOOD, window=BlockCounts(19, 19)), id="few blocks"),
        pytest.param(replace(FLOOD, window=BlockCounts(1000, 40)), id="four times as many"),
        pytest.param(replace(FLOOD, peak=0.55), id="the last wave was as high"),
        pytest.param(replace(FLOOD, history=BlockCounts(499, 5)), id="too few images before"),
        pytest.param(replace(FLOOD, began=NOW - 3599), id="too young"),
        pytest.param(replace(FLOOD, window=BlockCounts(10_000, 20)), id="the usual rate is next to nothing"),
    ],
)
def test_what_is_no_flood_stays_closed(record: FloodRecord) -> None:
    assert next_turn(record, RULE, NOW) is None


def test_a_rise_that_a_short_history_explains_stays_closed() -> None:
    lenient = replace(RULE, ratio=1.5, blocks_min=1, history_min=10)
    short = FloodRecord(BlockCounts(10, 1), BlockCounts(20, 9))
    long = FloodRecord(BlockCounts(1000, 100), BlockCounts(50, 40))
    assert [next_turn(record, lenient, NOW) for record in (short, long)] == [None, FloodTurn.OPEN]


def test_without_a_history_it_learns_and_says_so() -> None:
    assert FloodRecord(began=NOW).state(RULE, NOW) is FloodState.LEARNING
    assert FLOOD.state(RULE, NOW) is FloodState.CLOSED
    assert OPENED.state(RULE, NOW) is FloodState.OPEN


def test_it_closes_once_the_rate_has_been_calm_for_the_cooldown() -> None:
    calm = replace(OPENED, window=BlockCounts(100, 2))
    assert next_turn(OPENED, RULE, NOW) is None, "still high"
    assert next_turn(calm, RULE, NOW) is FloodTurn.CALM
    calm = replace(calm, calm_since=NOW)
    assert next_turn(calm, RULE, NOW + 299) is None
    assert next_turn(calm, RULE, NOW + 300) is FloodTurn.CLOSE
    assert next_turn(replace(calm, window=BlockCounts(100, 3)), RULE, NOW + 300) is FloodTurn.HIGH


def test_few_images_say_nothing_about_calm() -> None:
    assert next_turn(replace(OPENED, window=BlockCounts(24, 0)), RULE, NOW) is None


def test_between_calm_and_flood_nothing_changes() -> None:
    """Twice and a half the usual odds end the calm; five times open."""
    between = BlockCounts(1000, 40)
    assert next_turn(replace(FLOOD, window=between), RULE, NOW) is None
    assert next_turn(replace(OPENED, window=between), RULE, NOW) is None


@given(records)
def test_any_record_has_a_turn_that_fits_its_state(record: FloodRecord) -> None:
    turn = next_turn(record, RULE, NOW)
    fits = {
        FloodState.LEARNING: {None},
        FloodState.CLOSED: {None, FloodTurn.OPEN},
        FloodState.OPEN: {None, FloodTurn.CALM, FloodTurn.HIGH, FloodTurn.CLOSE},
    }
    assert turn in fits[record.state(RULE, NOW)]


@given(records, st.integers(1, 10_000))
def test_more_blocks_never_close_what_was_open_or_would_open(record: FloodRecord, more: int) -> None:
    window = BlockCounts(record.window.images, min(record.window.images, record.window.blocks + more))
    worse = replace(record, window=window)
    if next_turn(record, RULE, NOW) is FloodTurn.OPEN:
        assert next_turn(worse, RULE, NOW) is FloodTurn.OPEN
    if next_turn(worse, RULE, NOW) is FloodTurn.CLOSE:
        assert next_turn(record, RULE, NOW) is FloodTurn.CLOSE


@given(records)
def test_nothing_opens_below_the_least_blocks_and_the_ratio(record: FloodRecord) -> None:
    if next_turn(record, RULE, NOW) is FloodTurn.OPEN:
        assert record.window.blocks >= RULE.blocks_min
        assert record.window.rate >= 4 * USUAL_RATE_MIN
        assert rise(record.window.rate, usual_rate(record.history)) >= RULE.ratio


@settings(max_examples=40)
@given(counts(50), counts(2_000))
def test_chance_is_the_tail_of_the_beta_binomial(window: BlockCounts, history: BlockCounts) -> None:
    """The product formula of its terms, in fractions."""
    n, k = int(window.images), int(window.blocks)
    usual = Fraction(usual_rate(history))
    strength = Fraction(min(HISTORY_STRENGTH_IMAGES, history.images + 1))
    a, b = usual * strength, (1 - usual) * strength
    below = Fraction(0)
    for j in range(k):
        term = Fraction(comb(n, j))
        for i in range(n):
            term *= (a + i if i < j else b + i - j) / (strength + i)
        below += term
    expected = 1.0 - float(below)
    assert chance(FloodRecord(history, window)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(records)
def test_chance_is_a_probability(record: FloodRecord) -> None:
    assert 0.0 <= chance(record) <= 1.0


def test_odds_rise_where_no_rate_could() -> None:
    assert rise(0.75, 0.375) == pytest.approx(5.0)
    assert (rise(0.0, 0.1), rise(1.0, 0.1), rise(0.5, 1.0)) == (0.0, inf, 0.0)
