import numpy as np

from moderator.policies.fields import MAX_PROMPT
from moderator.tuning.prompt_candidates import SETTINGS, CandidateProposer, variations
from moderator.tuning.prompt_search import PromptSides, PromptTable


def test_variations_are_new_and_short() -> None:
    unsafe, safe = variations(["a gun", "A Gun on a table", "x" * (MAX_PROMPT - 4)], ["a drill"])
    assert "a gun, A Gun on a table" in unsafe
    assert "a gun held in a hand" in unsafe
    assert "a gun on a table" not in unsafe  # it is a prompt already, in other letters
    assert safe == [setting.replace("{}", "a drill") for setting in SETTINGS]
    assert max(map(len, unsafe)) <= MAX_PROMPT
    assert len(unsafe) == len({text.casefold() for text in unsafe})


def test_mistakes_suggest_what_they_look_like() -> None:
    """Text 0 is unsafe, 1 safe; 2 is near to 0, 3 to 1; false alarms look like 3, and one image of three like 0."""
    random = np.random.default_rng(0)
    matrix = np.array([[1, 0, 0], [0, 1, 0], [0.9, 0.1, 0], [0, 0.9, 0.4], [0, 0.2, 0.9]], dtype=np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    logits = random.normal(size=(90, 5)) * 0.1
    truth = np.arange(90) < 30
    logits[:30, 0] += 3
    logits[30:45, [0, 3]] += 2
    table = PromptTable(logits, np.arange(91), np.zeros(90))
    proposer = CandidateProposer(matrix, unsafe=(2,), safe=(3, 2))
    found = proposer(table, truth, PromptSides(unsafe=(0,), safe=(1,)))
    assert found.unsafe[:2] == (2, 0)
    assert found.safe[0] == 3
    assert 2 not in found.safe  # nearer to what is not allowed
    assert 3 not in found.unsafe
