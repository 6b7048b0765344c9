"""Releases, activations and rollbacks: what is refused, compared, recorded."""

import json
from pathlib import Path
from typing import Any

import pytest

from moderator.errors import (
    PolicyChanged,
    PolicyConflict,
    PolicyInvalid,
    PolicyNotFound,
    PolicyNotWritten,
    PolicyUnreleased,
    PolicyUnusable,
)
from moderator.policies.audit import Action, Mark, Record, State, append
from moderator.policies.catalogue import Catalogue
from moderator.policies.pointer_schema import Canary, Pointer
from moderator.policies.pointers import read_pointers
from moderator.policies.releases import read_releases
from moderator.policies.schema import Policy
from moderator.policies.store import PolicyStore
from tests.support.policies import activate, release, unchecked
from tests.support.policy_files import point, write, write_released


def recorded(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    records, marks = lines[::2], lines[1::2]
    assert [mark["applied"] for mark in marks] == [record["id"] for record in records]
    return records


def told(folder: Path, name: str | None = None) -> list[tuple[Action, int | None, State]]:
    return [(c.record.action, c.record.version, c.state) for c in unchecked(folder).log(name)]


def test_a_version_that_fails_its_check_is_neither_released_nor_activated(tmp_path: Path) -> None:
    write_released(tmp_path, versions=2)
    write(tmp_path, version=3)
    activate(tmp_path, "market", 2)
    activate(tmp_path, "market", 1)
    before = {path: path.read_text() for path in tmp_path.iterdir() if path.is_file()}

    def refuse(policy: Policy) -> None:
        raise PolicyUnusable(policy.reference)

    store = PolicyStore(tmp_path, refuse)
    with pytest.raises(PolicyUnusable, match="market@3"):
        store.release("market", 3)
    with pytest.raises(PolicyUnusable, match="market@2"):
        store.activate("market", 2)
    with pytest.raises(PolicyUnusable, match="market@2"):
        store.rollback("market")
    assert {path: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == before


def test_what_is_edited_while_it_is_checked_is_checked_again(tmp_path: Path) -> None:
    write(tmp_path, block=0.7)
    seen = []

    def edit(policy: Policy) -> None:
        seen.append(policy.categories["weapons"].block)
        write(tmp_path, block=0.8)

    policy = PolicyStore(tmp_path, edit).release("market", 1)
    assert seen == [0.7, 0.8]
    assert read_releases(tmp_path) == {("market", 1): policy.digest}
    assert [record["digest"] for record in recorded(tmp_path)] == [policy.digest]


def test_activate(tmp_path: Path) -> None:
    write_released(tmp_path)
    assert activate(tmp_path, "market", 1) == Pointer(active=1)
    point(tmp_path, "market: {active: 1, shadow: [2, 3], canary: {version: 2, percent: 5}}")
    assert activate(tmp_path, "market", 2) == Pointer(active=2, shadow=(3,))
    assert read_pointers(tmp_path) == {"market": Pointer(active=2, shadow=(3,))}
    point(tmp_path, "market: {active: 1, canary: {version: 2, percent: 5}}")
    assert activate(tmp_path, "market", 3).canary is not None


def test_only_released_versions_are_activated(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(PolicyUnreleased, match="moderator policy release market@1"):
        activate(tmp_path, "market", 1)
    write_released(tmp_path, versions=1)
    write(tmp_path, block=0.9)
    with pytest.raises(PolicyChanged):
        activate(tmp_path, "market", 1)
    assert not (tmp_path / "active.yaml").exists()


def test_a_broken_pointer_file_is_not_overwritten(tmp_path: Path) -> None:
    write_released(tmp_path)
    point(tmp_path, "market: 7")
    with pytest.raises(PolicyInvalid):
        activate(tmp_path, "market", 1)
    assert (tmp_path / "active.yaml").read_text() == "market: 7"


def test_a_change_that_expects_another_state_is_refused(tmp_path: Path) -> None:
    write_released(tmp_path)
    store = unchecked(tmp_path)
    store.activate("market", 1, expect=0)
    with pytest.raises(PolicyConflict, match=r"version 1 of .* not none as expected: .*--expect 1"):
        store.activate("market", 2, expect=0)
    store.activate("market", 2, expect=1)
    with pytest.raises(PolicyConflict, match="version 2 of 'market' is active, not version 1 as expected"):
        store.activate("market", 3, expect=1)
    with pytest.raises(PolicyConflict, match="try again with --expect 2"):
        store.rollback("market", expect=1)
    assert store.rollback("market", expect=2).now.active == 1
    write(tmp_path, version=4)
    seen = store.read().get("market", 4).digest
    write(tmp_path, version=4, block=0.9)
    with pytest.raises(PolicyConflict, match="was edited meanwhile"):
        store.release("market", 4, expect=seen)
    assert ("market", 4) not in read_releases(tmp_path)


def test_each_change_is_recorded_with_who_and_why(tmp_path: Path) -> None:
    write_released(tmp_path, versions=2)
    store = PolicyStore(tmp_path, lambda policy: None, actor="anna\x1b[31m")
    store.activate("market", 1)
    store.activate("market", 2, reason="fewer\nfalse alarms " + "x" * 1000)
    store.activate("market", 2)
    *releases, first, second = recorded(tmp_path)
    assert [(r["action"], r["version"], r["from"], r["to"]) for r in releases] == [
        ("release", 1, None, None),
        ("release", 2, None, None),
    ]
    assert first["from"] is None
    assert (second["who"], second["action"], second["policy"]) == ("anna?[31m", "activate", "market")
    assert second["why"].startswith("fewer false alarms")
    assert len(second["why"]) == 500
    assert second["from"] == first["to"] == {"active": 1, "shadow": [], "canary": None}
    assert second["to"]["active"] == 2
    assert second["digest"] == read_releases(tmp_path)["market", 2]
    assert second["when"] >= first["when"]


def test_the_file_of_records_is_part_of_the_folder(tmp_path: Path) -> None:
    write_released(tmp_path)
    activate(tmp_path, "market", 1)
    snapshot = Catalogue(tmp_path).snapshot
    assert (snapshot.problems, snapshot.strays) == ((), ())


def test_rolling_back_goes_one_version_further_back_each_time(tmp_path: Path) -> None:
    write_released(tmp_path, versions=4)
    store = unchecked(tmp_path)
    for version in (1, 2, 3, 2, 4):
        store.activate("market", version)
    assert [store.rollback("market").now.active for _ in range(4)] == [2, 3, 2, 1]
    with pytest.raises(
        PolicyNotFound, match=r"no version of 'market' is recorded .* activate market@VERSION"
    ):
        store.rollback("market")
    store.activate("market", 4)
    assert store.rollback("market").now.active == 1


def test_rolling_back_starts_from_what_was_active_before_anything_was_recorded(tmp_path: Path) -> None:
    write_released(tmp_path)
    point(tmp_path, "market: {active: 3, shadow: [1]}")
    with pytest.raises(PolicyNotFound, match="no version of 'market' is recorded"):
        unchecked(tmp_path).rollback("market")
    activate(tmp_path, "market", 2)
    assert unchecked(tmp_path).rollback("market").now == Pointer(active=3, shadow=(1,))


def test_rolling_back_does_not_make_a_canary_of_the_version_that_failed(tmp_path: Path) -> None:
    write_released(tmp_path)
    activate(tmp_path, "market", 1)
    point(tmp_path, "market: {active: 1, canary: {version: 2, percent: 50}}")
    activate(tmp_path, "market", 2)
    assert unchecked(tmp_path).rollback("market").now == Pointer(active=1)


def test_a_rollback_during_which_another_version_goes_live_is_refused(tmp_path: Path) -> None:
    write_released(tmp_path)
    activate(tmp_path, "market", 1)
    activate(tmp_path, "market", 2)
    store = PolicyStore(tmp_path, check=lambda policy: activate(tmp_path, "market", 3))
    with pytest.raises(PolicyConflict, match="version 3 of 'market' is active, not version 2 as expected"):
        store.rollback("market")
    assert read_pointers(tmp_path)["market"].active == 3


def test_a_change_is_done_though_its_mark_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_released(tmp_path)
    activate(tmp_path, "market", 1)

    def full(folder: Path, line: Record | Mark) -> None:
        if isinstance(line, Mark):
            raise PolicyNotWritten("no space left")
        append(folder, line)

    with monkeypatch.context() as patch:
        patch.setattr("moderator.policies.store.append", full)
        assert activate(tmp_path, "market", 2) == Pointer(active=2)
    assert told(tmp_path)[-1] == (Action.ACTIVATE, 2, State.IN_FORCE)


def test_a_policy_without_an_active_version_cannot_be_rolled_back(tmp_path: Path) -> None:
    write_released(tmp_path)
    with pytest.raises(PolicyNotFound, match="no version of 'market' is active"):
        unchecked(tmp_path).rollback("market")
    with pytest.raises(PolicyNotFound, match="no policy 'markt'; did you mean 'market'"):
        unchecked(tmp_path).rollback("markt")


def test_the_log_says_what_is_in_force(tmp_path: Path) -> None:
    write_released(tmp_path, versions=2)
    write_released(tmp_path, name="art", versions=1)
    activate(tmp_path, "market", 1)
    activate(tmp_path, "art", 1)
    activate(tmp_path, "market", 2)
    assert told(tmp_path, "market") == [
        (Action.RELEASE, 1, State.IN_FORCE),
        (Action.RELEASE, 2, State.IN_FORCE),
        (Action.ACTIVATE, 1, State.REPLACED),
        (Action.ACTIVATE, 2, State.IN_FORCE),
    ]
    assert told(tmp_path, "art") == [
        (Action.RELEASE, 1, State.IN_FORCE),
        (Action.ACTIVATE, 1, State.IN_FORCE),
    ]
    assert len(told(tmp_path)) == 6


def test_the_log_shows_changes_by_hand(tmp_path: Path) -> None:
    write_released(tmp_path)
    activate(tmp_path, "market", 1)
    point(tmp_path, "market: {active: 2}")
    activate(tmp_path, "market", 3)
    canary = Canary(version=2, percent=5)
    point(tmp_path, "market: {active: 3, canary: {version: 2, percent: 5}}")
    changes = unchecked(tmp_path).log("market")[3:]
    assert [(c.record.action, c.record.version, c.state) for c in changes] == [
        (Action.ACTIVATE, 1, State.REPLACED),
        (Action.UNRECORDED, 2, State.REPLACED),
        (Action.ACTIVATE, 3, State.IN_FORCE),
        (Action.UNRECORDED, 3, State.IN_FORCE),
    ]
    assert changes[-1].record.after == Pointer(active=3, canary=canary)
    assert (changes[-1].record.who, changes[-1].record.when) == (None, None)
    # A change that is undone by hand was made all the same.
    point(tmp_path, "market: {active: 2}")
    changes = unchecked(tmp_path).log("market")[-2:]
    assert [(c.record.action, c.record.version, c.state) for c in changes] == [
        (Action.ACTIVATE, 3, State.REPLACED),
        (Action.UNRECORDED, 2, State.IN_FORCE),
    ]
    # Where somebody takes a policy out of the file, nothing is in force.
    point(tmp_path, "")
    assert unchecked(tmp_path).log("market")[-1].record.after is None


def test_lines_that_are_no_records_do_not_hide_the_others(tmp_path: Path) -> None:
    write_released(tmp_path, versions=1)
    activate(tmp_path, "market", 1)
    path = tmp_path / "audit.jsonl"
    lines = path.read_text().splitlines()
    newer = json.dumps({**json.loads(lines[2]), "ticket": 7})
    path.write_text("<<<<<<< ours\n" + lines[0] + "\n" + newer + '\n{"when": "2026-01-0')
    assert told(tmp_path) == [(Action.RELEASE, 1, State.IN_FORCE), (Action.ACTIVATE, 1, State.IN_FORCE)]
    write(tmp_path, version=2)
    release(tmp_path, "market", 2)
    assert told(tmp_path)[-1] == (Action.RELEASE, 2, State.IN_FORCE)


def test_a_version_is_tried_as_a_shadow_and_as_the_canary_and_promoted(tmp_path: Path) -> None:
    write_released(tmp_path)
    activate(tmp_path, "market", 1)
    store = unchecked(tmp_path)
    assert store.shadow("market", 2).now == Pointer(active=1, shadow=(2,))
    assert store.shadow("market", 3).now == Pointer(active=1, shadow=(2, 3))
    assert store.shadow("market", 3, on=False).now == Pointer(active=1, shadow=(2,))
    assert store.canary("market", 2, 5).now.canary == Canary(version=2, percent=5)
    assert store.canary("market", 2, 20).now == Pointer(
        active=1, shadow=(2,), canary=Canary(version=2, percent=20)
    )
    assert store.promote("market", 2).now == Pointer(active=2) == read_pointers(tmp_path)["market"]
    assert store.rollback("market").now == Pointer(active=1)
    assert told(tmp_path)[3:] == [
        (Action.ACTIVATE, 1, State.REPLACED),
        (Action.SHADOW, 2, State.REPLACED),
        (Action.SHADOW, 3, State.REPLACED),
        (Action.SHADOW, 3, State.IN_FORCE),
        (Action.CANARY, 2, State.REPLACED),
        (Action.CANARY, 2, State.REPLACED),
        (Action.PROMOTE, 2, State.REPLACED),
        (Action.ROLLBACK, 1, State.IN_FORCE),
    ]


def test_a_shadow_leaves_the_activation_in_force(tmp_path: Path) -> None:
    write_released(tmp_path)
    activate(tmp_path, "market", 1)
    unchecked(tmp_path).shadow("market", 2)
    unchecked(tmp_path).canary("market", 3, 1)
    assert told(tmp_path)[3:] == [
        (Action.ACTIVATE, 1, State.IN_FORCE),
        (Action.SHADOW, 2, State.IN_FORCE),
        (Action.CANARY, 3, State.IN_FORCE),
    ]


def test_a_shadow_and_a_canary_need_a_release_an_active_version_and_what_they_need(tmp_path: Path) -> None:
    write_released(tmp_path, versions=2)
    write(tmp_path, version=3)
    store = unchecked(tmp_path)
    for act in (lambda: store.shadow("market", 1), lambda: store.canary("market", 1, 5)):
        with pytest.raises(PolicyNotFound, match="no version of 'market' is active"):
            act()
    activate(tmp_path, "market", 1)
    refused = Pointer(active=1)
    for act in (lambda: store.shadow("market", 3), lambda: store.canary("market", 3, 5)):
        with pytest.raises(PolicyUnreleased, match="policy release market@3"):
            act()

    def refuse(policy: Policy) -> None:
        raise PolicyUnusable(policy.reference)

    strict = PolicyStore(tmp_path, refuse)
    for act in (lambda: strict.shadow("market", 2), lambda: strict.canary("market", 2, 5)):
        with pytest.raises(PolicyUnusable, match="market@2"):
            act()
    with pytest.raises(PolicyConflict, match="version 1 of 'market' is active, not version 2"):
        store.shadow("market", 2, expect=2)
    assert read_pointers(tmp_path)["market"] == refused


def test_a_role_is_ended_though_the_version_cannot_be_used_any_more(tmp_path: Path) -> None:
    write_released(tmp_path)
    point(tmp_path, "market: {active: 1, shadow: [2], canary: {version: 3, percent: 5}}")
    write(tmp_path, version=2, text="broken")
    (tmp_path / "market" / "3.yaml").unlink()
    unchecked(tmp_path).shadow("market", 2, on=False)
    assert unchecked(tmp_path).canary("market", 3, None).now == Pointer(active=1)
