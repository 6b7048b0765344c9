from moderator.suggestions import closest, did_you_mean


def test_a_near_miss_is_suggested() -> None:
    assert closest("unsfe", iter(["safe", "unsafe"])) == "unsafe"
    assert did_you_mean("unsfe", ["safe", "unsafe"]) == "did you mean 'unsafe'?"
    assert closest("zebra", ["safe", "unsafe"]) is None
    assert did_you_mean("zebra", ["safe", "unsafe"]) == ""
