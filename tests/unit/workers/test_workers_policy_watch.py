from pathlib import Path

import pytest
from colour_encoder import ColourEncoder, write_policies
from prometheus_client import CollectorRegistry

from moderator import Settings
from moderator.engine.engine import Engine
from workers.policy_watch import PolicyWatch
from workers.worker_metrics import Metrics


class Board:
    """Announcements, without Redis."""

    def __init__(self) -> None:
        self.seen: list[set[str]] = []

    def announce(self, references: object) -> None:
        self.seen.append(set(references))  # type: ignore[call-overload]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    settings = Settings(
        policies=write_policies(tmp_path / "policies"), default_policy="colours", cache=tmp_path / "cache"
    )
    return Engine(settings, encoder=ColourEncoder())


def loaded(metrics: Metrics) -> set[tuple[str, str]]:
    return {
        (sample.labels["version"], sample.labels["role"])
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "moderation_policy_info" and sample.value
    }


def test_what_changes_in_the_folder_is_shown_and_announced(engine: Engine) -> None:
    board, metrics = Board(), Metrics(CollectorRegistry())
    watch = PolicyWatch(engine, metrics, board)  # type: ignore[arg-type]
    watch.show()
    assert loaded(metrics) == {("1", "active"), ("2", "shadow")}
    watch.refresh()
    assert board.seen == [], "nothing changed"
    (engine.settings.policies / "active.yaml").write_text("colours: {active: 3}\n")
    watch.refresh()
    assert loaded(metrics) == {("3", "active")}
    assert board.seen == [{"colours", "colours@1", "colours@2", "colours@3"}]
