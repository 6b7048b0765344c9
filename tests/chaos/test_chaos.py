"""The short version of the table of faults; the whole one is `make chaos`."""

from pathlib import Path

import pytest

from moderator.queue import keys
from tests.chaos.catalogue import FAULTS
from tests.chaos.fault import Fault, play
from tests.chaos.stage import Stage

#: Without the fault that may take a worker half a minute to end; a test of the worker's life has just that end.
QUICK = [fault for fault in FAULTS.values() if not fault.may_kill_worker]


@pytest.mark.slow
@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name)
def test_nothing_is_lost_and_nothing_is_doubled(fault: type[Fault], cache: Path) -> None:
    row = play(fault, quick=True, cache=cache, seed=1, events=30)

    if row.skipped is not None:
        pytest.skip(row.skipped)
    assert row.good, row
    assert row.events >= 30


class Forged(Fault):
    """One verdict is in the stream twice, another is gone."""

    name = "forged"
    what = "what the count is there to see"

    def strike(self, stage: Stage, trial: int) -> None:
        redis = stage.client.redis
        assert stage.until(lambda: redis.xlen(keys.VERDICTS) > 2)
        (gone, _), (_, twice) = redis.xrange(keys.VERDICTS, count=2)
        redis.xdel(keys.VERDICTS, gone)
        redis.xadd(keys.VERDICTS, twice)


@pytest.mark.slow
def test_the_count_sees_what_is_lost_and_what_is_doubled(cache: Path) -> None:
    row = play(Forged, quick=True, cache=cache, seed=1, events=5)

    assert (row.lost, row.doubled, row.good) == (1, 1, False)
    assert row.verdicts == row.events
