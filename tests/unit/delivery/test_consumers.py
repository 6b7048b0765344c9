"""How consumers are found; and the contract, kept by one that writes to a database as an archive would."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from moderator.delivery import consumers
from moderator.delivery.consumers import Settle, consumer_names, is_installed, make_consumer
from moderator.delivery.webhook_delivery import WebhookSender
from moderator.errors import SettingsError
from moderator.fetching.breaker import Breakers
from moderator.queue.outbox import Delivery
from moderator.settings import Settings
from tests.support.consumer_contract import ConsumerContract


class TableWriter:
    """One row for each verdict, written in batches."""

    name = "table"
    wants_evidence = True
    attempts = 3

    def __init__(self, settings: Settings, file: Path | str = ":memory:") -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS verdicts (source, id, digest, UNIQUE (source, id, digest))"
        )

    def room(self) -> int:
        return 500

    def deliver(self, deliveries: Sequence[Delivery], settle: Settle) -> None:
        rows = [delivery.identity for delivery in deliveries]
        self._database.executemany("INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?)", rows)
        settle.done(deliveries)

    def close(self) -> None:
        self._database.close()


class TestTableWriter(ConsumerContract):
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "verdicts.sqlite3"

    @pytest.fixture
    def consumer(self, file: Path) -> TableWriter:
        return TableWriter(Settings(), file)

    @pytest.fixture
    def arrived(self, file: Path) -> Callable[[], Counter[str]]:
        def read() -> Counter[str]:
            with sqlite3.connect(file) as database:
                return Counter(f"{s}:{i}#{d}" for s, i, d in database.execute("SELECT * FROM verdicts"))

        return read


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("table", f"{__name__}:TableWriter", consumers.ENTRY_POINT_GROUP),
        EntryPoint("broken", "no_such_module:Thing", consumers.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(
        consumers, "entry_points", lambda group, name: [point for point in points if point.name == name]
    )


def make(name: str, settings: Settings) -> object:
    return make_consumer(name, settings, None, Breakers(0, 1.0))  # type: ignore[arg-type]


def test_webhooks_are_always_there() -> None:
    assert consumer_names(Settings()) == ["webhooks"]
    assert is_installed("webhooks", Settings())
    sender = make("webhooks", Settings())
    assert isinstance(sender, WebhookSender)
    sender.close()


@pytest.mark.usefixtures("installed")
def test_a_package_adds_one_by_an_entry_point() -> None:
    settings = Settings(outbox_consumers="table:embedding, broken")  # type: ignore[arg-type]
    assert consumer_names(settings) == ["webhooks", "table", "broken"]
    assert (is_installed("table", settings), is_installed("other", settings)) == (True, False)
    made = make("table", settings)
    assert isinstance(made, TableWriter)
    made.close()
    with pytest.raises(SettingsError, match=r"'broken' cannot be loaded .*install it again"):
        make("broken", settings)
    with pytest.raises(SettingsError, match="no consumer 'other' is installed"):
        make("other", settings)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kept", ["", "table"])
def test_one_for_which_too_little_is_kept_says_what_to_set(kept: str) -> None:
    with pytest.raises(SettingsError, match=r"name 'table:embedding' in MODERATOR_OUTBOX_CONSUMERS"):
        make("table", Settings(outbox_consumers=kept))  # type: ignore[arg-type]
