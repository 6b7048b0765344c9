from pathlib import Path

import pytest
from policy_files import point, write, write_released

from moderator.errors import PolicyUnusable
from moderator.policies.releases import read_releases
from moderator.policies.schema import Policy
from moderator.policies.store import PolicyStore


def test_a_version_that_fails_its_check_is_neither_released_nor_activated(tmp_path: Path) -> None:
    write_released(tmp_path, versions=2)
    write(tmp_path, version=3)
    point(tmp_path, "market: {active: 1}\n")
    before = {path: path.read_text() for path in tmp_path.iterdir() if path.is_file()}

    def refuse(policy: Policy) -> None:
        raise PolicyUnusable(policy.reference)

    store = PolicyStore(tmp_path, refuse)
    with pytest.raises(PolicyUnusable, match="market@3"):
        store.release("market", 3)
    with pytest.raises(PolicyUnusable, match="market@2"):
        store.activate("market", 2)
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
