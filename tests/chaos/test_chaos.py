"""The short version of the table of faults; the whole one is `make chaos`."""

from pathlib import Path

import pytest

from tests.chaos.catalogue import FAULTS
from tests.chaos.fault import Fault, play


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_nothing_is_lost_and_nothing_is_doubled(fault: type[Fault], cache: Path) -> None:
    row = play(fault, quick=True, cache=cache, seed=1, events=30)

    if row.skipped is not None:
        pytest.skip(row.skipped)
    assert row.good, row
    assert row.events >= 30
