import pytest

from moderator.operations.doctor.findings import Level
from moderator.operations.doctor.readers import check_consumer, check_group, check_webhooks
from moderator.queue.outbox import ConsumerLag
from moderator.queue.stream_state import GroupState
from moderator.settings import Settings


@pytest.mark.parametrize(
    ("lag", "missed", "age", "level", "word"),
    [
        (0, 0, 0.0, Level.OK, "keeps up"),
        (250, 0, 3000.0, Level.OK, "keeps up"),
        (None, 0, 10.0, Level.OK, "keeps up"),
        (251, 0, 10.0, Level.WARNING, "251 verdicts behind, of 1000"),
        (3, 0, 7200.0, Level.WARNING, "2.0 h ago"),
        (1000, 540, 7200.0, Level.PROBLEM, "missed 540 verdicts"),
    ],
)
def test_a_group_of_readers(lag: int | None, missed: int, age: float, level: Level, word: str) -> None:
    finding = check_group(GroupState("archive", lag, 1, missed, age, "1-0"), 1000)
    assert (finding.check, finding.level) == ("stream.readers", level)
    assert "'archive'" in finding.message
    assert word in finding.message
    assert bool(finding.remedy) == (level is not Level.OK)


def test_webhooks_that_are_gone_are_named_by_host_alone() -> None:
    assert check_webhooks([]).level is Level.OK
    finding = check_webhooks([f"https://host{n}.example/hook?token=hunter2" for n in range(7)])
    assert finding.level is Level.WARNING
    assert "7 webhooks" in finding.message
    assert "host0.example" in finding.message
    assert "2 more" in finding.message
    assert "hunter2" not in finding.message
    assert "moderator webhooks enable" in finding.remedy


@pytest.mark.parametrize(
    ("waiting", "age", "missed", "level", "word"),
    [
        (0, 0.0, 0, Level.OK, "keeps up"),
        (500, 3000.0, 0, Level.OK, "keeps up"),
        (500, 7200.0, 0, Level.WARNING, "2.0 h"),
        (500, 0.0, 3, Level.PROBLEM, "missed 3 verdicts: 500 waited"),
    ],
)
def test_a_consumer_of_the_outbox(waiting: int, age: float, missed: int, level: Level, word: str) -> None:
    settings = Settings(deliver="apart", outbox_limit=500)
    finding = check_consumer(ConsumerLag("archive", waiting, age, missed), settings)
    assert (finding.check, finding.level) == ("outbox.consumers", level)
    assert "'archive'" in finding.message
    assert word in finding.message
    assert ("moderator deliver" in (finding.remedy or "")) == (level is not Level.OK)
