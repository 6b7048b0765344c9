from moderator.engine.stopwatch import Stopwatch


def test_a_stopwatch() -> None:
    watch = Stopwatch()
    assert watch.lap("a") >= 0
    watch.note("b", 0.0123456)
    assert watch.timings_ms["b"] == 12.346
    assert list(watch.timings_ms) == ["a", "b"]
