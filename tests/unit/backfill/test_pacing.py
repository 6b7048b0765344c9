import pytest

from moderator.backfill.pacing import Pace


def test_images_are_spread_over_time() -> None:
    now = [100.0]
    pace = Pace(4.0, lambda: now[0])
    assert pace.delay() == 0
    pace.note(8)
    assert pace.delay() == pytest.approx(2.0)
    now[0] += 5.0
    assert pace.delay() == 0
    pace.note(4)
    assert pace.delay() == pytest.approx(1.0), "what was not used is not saved up"


def test_without_a_rate_nothing_waits() -> None:
    pace = Pace(None)
    pace.note(1_000_000)
    assert pace.delay() == 0
