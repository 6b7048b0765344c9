from pathlib import Path

import pytest

from moderator.embeddings import runtimes
from moderator.encoders.runtimes.plan import ONNX, OPENVINO, TORCH, installed
from moderator.policies.loader import load_policy
from moderator.settings import Settings
from tests.support.clip_models import PHOTOGRAPHS

POLICIES = Path(__file__).parents[3] / "policies"


def test_rows_say_how_near_each_way_is_to_float32(
    small_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "TIMING_MIN_SECONDS", 0)
    photographs = [PHOTOGRAPHS / name for name in ("cat.jpg", "coffee.jpg", "hammer.jpg")]
    settings = Settings(encoder=f"clip:{small_clip}", policies=POLICIES, cache=tmp_path)
    rows = runtimes.compare_runtimes(settings, photographs, rounds=1)
    assert [(row.runtime, row.precision) for row in rows] == [
        way for way in runtimes.runtime_precisions() if installed(way[0])
    ]
    first, *others = rows
    assert (first.runtime, first.precision, first.equal_decisions) == ("torch", "float32", 1)
    assert first.cosine == pytest.approx(1, abs=1e-5)
    of_prompts = [path for path in POLICIES.glob("*/*.yaml") if not load_policy(path).signals]
    assert sum(first.decisions.values()) == 3 * len(of_prompts)
    for row in others:
        assert 0.9 < row.cosine <= 1.0001
        assert 0 <= row.equal_decisions <= 1
        assert 0.9 < row.centred_cosine <= 1.0001
        if row.precision == "float32":
            assert (row.cosine, row.centred_cosine) == pytest.approx((1, 1), abs=1e-4)
        assert all(speed > 0 for speed in row.speeds.values())


@pytest.mark.parametrize("computed", [True, False])
def test_an_emulated_precision_is_not_compared(monkeypatch: pytest.MonkeyPatch, computed: bool) -> None:
    monkeypatch.setattr(runtimes, "computes_bfloat16", lambda: computed)
    ways = runtimes.runtime_precisions()
    assert ((TORCH, "bfloat16") in ways, (OPENVINO, "bfloat16") in ways) == (computed, computed)
    assert (TORCH, "float16") not in ways
    assert ways[0] == (TORCH, "float32")


def test_a_way_that_an_encoder_does_not_have_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "TIMING_MIN_SECONDS", 0)
    monkeypatch.setattr(
        runtimes, "runtime_precisions", lambda: [(TORCH, "float32"), (ONNX, "int8"), (OPENVINO, "int8")]
    )
    settings = Settings(encoder="embedded", policies=POLICIES, cache=tmp_path)
    rows = runtimes.compare_runtimes(settings, [PHOTOGRAPHS / "cat.jpg"], rounds=1)
    assert [(row.runtime, row.precision) for row in rows] == [(TORCH, "float32")]
