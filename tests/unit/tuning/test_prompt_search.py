import numpy as np
import pytest
from numpy.typing import NDArray

from moderator.tuning.prompt_search import (
    PromptCandidates,
    PromptSides,
    PromptTable,
    accepted,
    follow,
    search_prompts,
)
from moderator.tuning.rank_objective import separation

Flags = NDArray[np.bool_]
START = PromptSides(unsafe=(0,), safe=(1,), fixed=(2,))
COUNT = 200


def table_of(informative: bool) -> tuple[PromptTable, Flags]:
    """Images of two views and 40 texts; if `informative`, text 7 is near to half of the positives."""
    random = np.random.default_rng(5)
    truth = np.arange(COUNT) % 4 == 0
    logits = random.normal(size=(2 * COUNT, 40))
    logits[0::2, 0] += 2 * truth
    if informative:
        logits[0::2, 7] += 5 * (np.arange(COUNT) % 8 == 0)
    return PromptTable(logits, np.arange(0, 2 * COUNT + 1, 2), np.zeros(2 * COUNT)), truth


def propose(table: PromptTable, truth: Flags, sides: PromptSides) -> PromptCandidates:
    return PromptCandidates(unsafe=tuple(range(3, 40)), safe=tuple(range(3, 40)))


def test_the_prompt_that_finds_more_is_added() -> None:
    table, truth = table_of(informative=True)
    outcome = search_prompts(table, truth, START, propose, np.arange(COUNT) // 4 % 5, changes_max=2)
    assert 7 in outcome.sides.unsafe
    assert outcome.gain > outcome.error > 0
    assert outcome.tried > 5 * 70
    assert outcome.sides.fixed == START.fixed


def test_prompts_of_chance_are_seldom_accepted() -> None:
    """Where nothing distinguishes the positives, the best of hundreds of prompts finds more of those that chose it."""
    accepted_count, gains = 0, []
    for seed in range(10):
        random = np.random.default_rng(seed)
        truth = random.permutation(np.arange(COUNT) % 4 == 0)
        table = PromptTable(random.normal(size=(COUNT, 40)), np.arange(COUNT + 1), np.zeros(COUNT))
        outcome = search_prompts(table, truth, START, propose, np.arange(COUNT) % 5, changes_max=3)
        accepted_count += outcome.sides != START
        path, _ = follow(table, truth, START, propose, 3)
        qualities = [
            separation(table.log_odds(sides)[:, None], truth).mean() for sides in (path[0], path[-1])
        ]
        gains.append(qualities[1] - qualities[0])
    assert min(gains) > 0
    assert accepted_count <= 2


def test_log_odds_are_those_of_the_rule_in_the_worst_view() -> None:
    table, _ = table_of(informative=True)
    sides = PromptSides(unsafe=(0, 7), safe=(1,), fixed=(2,))
    weights = np.exp(table.logits)
    odds = np.log(weights[:, [0, 7]].sum(axis=1) / weights[:, [1, 2]].sum(axis=1)).reshape(COUNT, 2)
    assert table.log_odds(sides) == pytest.approx(odds.max(axis=1))


def test_each_trial_is_the_score_of_its_prompts() -> None:
    table, _ = table_of(informative=True)
    sides = PromptSides(unsafe=(0, 7), safe=(1,), fixed=(2,))
    trials = [
        (changed, odds[:, n])
        for several, odds in table.trials(sides, PromptCandidates((4, 7), (5,)))
        for n, changed in enumerate(several)
    ]
    assert {(len(changed.unsafe), len(changed.safe)) for changed, _ in trials} == {
        (3, 1),
        (2, 2),
        (1, 1),
        (2, 0),
    }
    for changed, odds in trials:
        assert odds == pytest.approx(table.log_odds(changed))


def test_a_gain_within_its_error_is_not_accepted() -> None:
    random = np.random.default_rng(0)
    nothing, noise = np.zeros(50), random.normal(size=50)
    noise -= noise.mean()
    certain = np.full(50, 0.2) + 0.1 * noise
    assert accepted(np.stack([nothing, noise + 0.05], axis=1))[0] == 0
    step, gain, error = accepted(np.stack([nothing, noise + 0.05, certain], axis=1))
    assert step == 2
    assert gain == pytest.approx(0.2)
    assert error < 0.02
