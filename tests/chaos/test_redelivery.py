"""The short version of the chaos run; the whole one is `make chaos`."""

from pathlib import Path

import pytest

from tests.chaos.redelivery import run
from tests.integration.service import copy_policies


@pytest.mark.slow
@pytest.mark.parametrize("crash", [False, True], ids=["server-stops", "server-crashes"])
def test_nothing_is_lost_and_nothing_is_doubled(tmp_path: Path, crash: bool) -> None:
    result = run(
        150, kills=2, restarts=1, policies=copy_policies(tmp_path / "policies"), crash=crash, timeout=120
    )

    assert (result.events, result.verdicts) == (150, 150)
    assert (result.lost, result.doubled, result.errors) == (0, 0, 0)
