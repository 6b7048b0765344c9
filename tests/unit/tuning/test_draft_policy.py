"""Drafts: the next version, with a note and the comments of its base."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moderator.errors import PolicyInvalid
from moderator.policies.loader import load_policy, parse_policy
from moderator.tuning.draft_policy import edit_policy, write_draft
from tests.support.policy_files import TEXT, write, write_released

BASE = TEXT.format(name="market", version=1, block=0.8)


def test_a_draft_is_the_next_version_and_keeps_the_comments_of_its_base(tmp_path: Path) -> None:
    write_released(tmp_path, versions=2)
    (tmp_path / "market" / "2.yaml").unlink()  # released, and its file is gone
    path = write_draft(tmp_path, edit_policy(BASE, {("categories", "weapons", "block"): 0.6}), "one\ntwo")
    assert path == tmp_path / "market" / "3.yaml"
    text = BASE.replace("version: 1", "version: 3").replace("0.8", "0.6")
    assert path.read_text() == f"# Note: one two\n{text}"
    assert load_policy(path).categories["weapons"].block == 0.6


def test_a_note_takes_the_place_of_the_note_of_the_draft_before(tmp_path: Path) -> None:
    first = write_draft(tmp_path, BASE, "word " * 100)
    assert first.read_text().count("\n#   word") > 3
    second = write_draft(tmp_path, first.read_text(), "short\x07")
    assert second.read_text() == "# Note: short?\n" + BASE.replace("version: 1", "version: 2")


def test_a_policy_without_text_becomes_a_draft(tmp_path: Path) -> None:
    policy = parse_policy(BASE)
    path = write_draft(tmp_path / "new", policy, "")
    assert load_policy(path).digest == policy.digest


def test_an_invalid_draft_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalid, match="review"):
        write_draft(tmp_path, BASE.replace("0.45", "0.9"), "")
    assert list(tmp_path.iterdir()) == []


def test_drafts_that_are_written_at_once_are_versions_of_their_own(tmp_path: Path) -> None:
    write(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda n: write_draft(tmp_path, BASE, f"draft {n}"), range(8)))
    assert sorted(path.name for path in paths) == [f"{n}.yaml" for n in range(2, 10)]
    assert {path.read_text().splitlines()[0] for path in paths} == {f"# Note: draft {n}" for n in range(8)}
