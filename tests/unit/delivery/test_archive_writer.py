"""The consumer that writes the archive: the contract of consumers, and verdicts that cannot be written."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from moderator.archive.archive_store import open_archive
from moderator.archive.verdict_filter import VerdictFilter
from moderator.delivery.archive_writer import MAINTENANCE_SECONDS, ArchiveWriter
from moderator.delivery.consumers import is_installed, make_consumer
from moderator.errors import ConsumerUnavailable, RecordRefused
from moderator.queue.subscriptions import Subscription, Subscriptions
from moderator.settings import Settings
from tests.support.archived import deliveries
from tests.support.consumer_contract import ConsumerContract, Settled


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(archive_url=f"sqlite:///{tmp_path}/archive.sqlite3")


@pytest.fixture
def consumer(settings: Settings) -> ArchiveWriter:
    return ArchiveWriter(settings)


class TestArchiveWriter(ConsumerContract):
    @pytest.fixture
    def consumer(self, settings: Settings) -> ArchiveWriter:
        return ArchiveWriter(settings)

    @pytest.fixture
    def arrived(self, settings: Settings) -> Callable[[], Counter[str]]:
        archive = open_archive(settings)
        return lambda: Counter(f"moderator:{one.verdict['n']}#abc" for one in archive.scan(VerdictFilter()))


def test_the_url_alone_switches_it_on(settings: Settings) -> None:
    assert Subscriptions.of(settings).entries == (Subscription("archive", evidence=True),)
    named = settings.model_copy(update={"outbox_consumers": ("archive", "audit")})
    assert Subscriptions.of(named).entries == (Subscription("archive", evidence=True), Subscription("audit"))
    assert is_installed("archive", settings)
    assert not is_installed("archive", Settings())
    assert isinstance(make_consumer("archive", settings, None, None), ArchiveWriter)  # type: ignore[arg-type]


def test_a_verdict_that_cannot_be_written_fails_alone(
    consumer: ArchiveWriter, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = deliveries(range(5))
    batch[1] = replace(batch[1], body=b"no verdict")
    add = consumer._archive.add

    def refuse_one(records: list[object]) -> object:
        if any(record.identity[1] == "e3" for record in records):  # type: ignore[attr-defined]
            raise RecordRefused("as a database does with a value that it cannot hold")
        return add(records)  # type: ignore[arg-type]

    monkeypatch.setattr(consumer._archive, "add", refuse_one)
    settled = Settled()
    consumer.deliver(batch, settled)
    results = {key.partition("#")[0]: result for key, result in settled.results}
    assert results == {f"shop:e{n}": "failed" if n in (1, 3) else "done" for n in range(5)}
    assert sum(1 for _ in open_archive(settings).scan(VerdictFilter())) == 3


def test_without_its_database_it_uses_up_no_attempts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    consumer = ArchiveWriter(Settings(archive_url=f"sqlite:///{tmp_path}/file/archive.sqlite3"))
    settled = Settled()
    with pytest.raises(ConsumerUnavailable, match="archive"):
        consumer.deliver(deliveries([1]), settled)
    assert settled.results == []


def test_what_keeps_it_in_order_runs_in_between(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    consumer = ArchiveWriter(settings, clock=lambda: now[0])
    steps: list[float] = []

    def step() -> None:
        steps.append(now[0])
        raise OSError("the disk is full")

    monkeypatch.setattr(consumer._maintenance, "step", step)
    for at in (0.0, MAINTENANCE_SECONDS, MAINTENANCE_SECONDS + 1, 2 * MAINTENANCE_SECONDS):
        now[0] = at
        consumer.deliver(deliveries([int(at)]), Settled())
    assert steps == [MAINTENANCE_SECONDS, 2 * MAINTENANCE_SECONDS]
    assert "disk is full" in caplog.text
