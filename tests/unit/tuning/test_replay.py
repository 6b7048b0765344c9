"""What a replay says of a verdict that the flood breaker diverted."""

from types import SimpleNamespace
from typing import Any

import pytest

from moderator.tuning.replay import Replay
from moderator.verdicts import CategoryVerdict, Decision, Diversion, Verdict

BLOCK = {"weapons": CategoryVerdict(0.9, Decision.BLOCK)}
DIVERTED = Diversion(category="weapons", reason="flood breaker: 60 of the last 100 images were blocked")


@pytest.mark.parametrize(("diverted", "same"), [(DIVERTED, True), (None, False)])
def test_a_diverted_block_is_the_same_decision(diverted: Diversion | None, same: bool) -> None:
    archived = Verdict(
        event_id="e",
        source="shop",
        decision=Decision.REVIEW,
        is_safe=False,
        categories=BLOCK,
        diverted=diverted,
    )
    judged: Any = SimpleNamespace(judgement=SimpleNamespace(decision=Decision.BLOCK, categories=BLOCK))
    model: Any = None
    assert Replay(archived, 1, judged, model, from_image=False).same_decision is same
