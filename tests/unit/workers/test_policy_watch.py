from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from moderator import Settings
from moderator.engine.engine import Engine
from moderator.errors import PolicyUnusable
from moderator.policies.pointer_schema import Pointer
from moderator.policies.schema import Policy
from moderator.queue.announcements import HeldPolicy
from tests.support.colour_encoder import ColourEncoder, write_policies
from workers.policy_watch import PolicyWatch, held_policies, worker_name
from workers.worker_metrics import Metrics


class Board:
    """Announcements, without Redis."""

    def __init__(self) -> None:
        self.seen: list[set[str]] = []
        self.held: Mapping[str, HeldPolicy] = {}

    def announce(self, references: Iterable[str], held: Mapping[str, HeldPolicy]) -> None:
        self.seen.append(set(references))
        self.held = held


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
    held, pointer = board.held["colours"], Pointer(active=3)
    assert held.has(pointer)
    assert held.digest == engine.catalogue.get("colours").digest


def test_a_worker_says_why_it_does_not_have_what_the_folder_names(engine: Engine) -> None:
    def refuse(policy: Policy) -> None:
        if policy.version == 3:
            raise PolicyUnusable("no such encoder")

    catalogue = engine.catalogue
    catalogue.require(refuse)
    before, after = catalogue.snapshot.pointers["colours"], Pointer(active=3)
    (engine.settings.policies / "active.yaml").write_text("colours: {active: 3}\n")
    catalogue.refresh()
    held = held_policies(catalogue.snapshot)["colours"]
    assert held.pointer == before
    assert held.failed(after)
    assert not held.has(after)
    assert "no such encoder" in held.problem

    (engine.settings.policies / "active.yaml").write_text("colours: {active: 1, shadow: [3]}\n")
    catalogue.refresh()
    held = held_policies(catalogue.snapshot)["colours"]
    assert held.failed(Pointer(active=1, shadow=(3,)))
    assert held.problem == "no such encoder"

    (engine.settings.policies / "active.yaml").write_text("colours: {active: 9}\n")
    catalogue.refresh()
    held = held_policies(catalogue.snapshot)["colours"]
    assert held.failed(Pointer(active=9))
    assert "colours@9 does not exist" in held.problem


def test_no_two_workers_share_a_name() -> None:
    assert worker_name() != worker_name()
