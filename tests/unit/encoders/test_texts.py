import logging

import pytest

from moderator.encoders import texts
from moderator.encoders.texts import TextLimit


def words(limit: int) -> TextLimit:
    return TextLimit(limit, lambda several: [len(text.split()) for text in several])


def test_what_exceeds() -> None:
    limit = words(3)
    assert limit.exceeded_by(["a b c", "a b c d", "", "x " * 9]) == ["a b c d", "x " * 9]
    assert limit.exceeded_by([]) == []


def test_each_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    limit = words(3)
    with caplog.at_level(logging.WARNING):
        limit.warn(["a b c d", "a", "a b c d"])
        limit.warn(["a b c d", "word " * 100])
    first, second = (record.message for record in caplog.records)
    assert first == "the model reads 3 tokens and does not see the end of: a b c d"
    assert second.endswith("...")
    assert len(second) < 150


def test_what_is_remembered_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(texts, "_REMEMBERED_MAX", 2)
    limit = words(1)
    for number in range(50):
        limit.warn([f"text {number}"])
    assert len(caplog.records) == 50
    assert len(limit._logged) <= 2
