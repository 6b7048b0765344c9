import json

import pytest

from moderator.errors import ModelMismatch, SignalBusy, SignalFailed
from moderator.signals.evaluator import Outcome, plain, restored
from moderator.signals.signal import SignalResult


def test_readings_come_back_from_json() -> None:
    readings: dict[str, Outcome] = {
        "a": SignalResult(0.25, {"top": "x"}),
        "b": SignalResult(0.5, {}, unsure=True, clears=frozenset({"weapons"})),
    }
    assert restored(json.loads(json.dumps(plain(readings)))) == readings


def test_failed_readings_come_back_as_failures() -> None:
    failed = {"a": SignalBusy("nobody"), "b": SignalFailed("broken"), "c": ModelMismatch("another")}
    found = restored(json.loads(json.dumps(plain(failed))))
    assert {key: (type(error), str(error)) for key, error in found.items()} == {
        "a": (SignalBusy, "nobody"),
        "b": (SignalFailed, "broken"),
        "c": (SignalFailed, "another"),
    }


@pytest.mark.parametrize("values", [{"a": {}}, {"a": 1}, {"a": {"score": "x"}}, {"a": {"error": {}}}])
def test_anything_else_is_an_error(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"no signal readings|could not convert"):
        restored(values)  # type: ignore[arg-type]
