import os
import threading
from errno import EACCES, EIO, ESTALE
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from policy_files import point, write, write_released

from moderator.errors import (
    PolicyChanged,
    PolicyError,
    PolicyInvalid,
    PolicyNotFound,
    PolicyUnreleased,
    PolicyUnusable,
)
from moderator.policies.catalogue import Catalogue
from moderator.policies.references import parse_reference
from moderator.policies.releases import LOCK_FILE
from moderator.policies.schema import Policy
from tests.policies import release

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_released(tmp_path)
    point(tmp_path, "market: {active: 1}")
    return tmp_path


def kinds(catalogue: Catalogue) -> list[type[PolicyError]]:
    return [type(p) for p in catalogue.problems]


@pytest.mark.parametrize(
    ("text", "reference"),
    [("market", ("market", None)), ("market@2", ("market", 2)), ("family-safe@10", ("family-safe", 10))],
)
def test_references(text: str, reference: tuple[str, int | None]) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    "text", ["", "@1", "market@", "market@0", "market@x", "a@1@2", "A", "../x", "m@1\n", "market@01"]
)
def test_bad_references(text: str) -> None:
    with pytest.raises(PolicyNotFound, match="NAME@VERSION"):
        parse_reference(text)


def test_get(folder: Path) -> None:
    write(folder, version=4)
    catalogue = Catalogue(folder)
    assert catalogue.get("market").version == 1
    assert catalogue.get("market", 4).version == 4, "a draft may be used by its version"
    assert catalogue.problems == ()
    assert catalogue.released("market", 3).version == 3
    with pytest.raises(PolicyUnreleased, match=r"market@4 is a draft.*moderator policy release market@4"):
        catalogue.released("market", 4)
    with pytest.raises(PolicyNotFound, match="no version 9; there are: 1, 2, 3, 4"):
        catalogue.get("market", 9)
    with pytest.raises(PolicyNotFound, match="did you mean 'market'"):
        catalogue.get("markte")
    with pytest.raises(PolicyNotFound, match="there are: market"):
        catalogue.select("zzz", "web:1")


def test_nothing_is_active_by_itself(folder: Path) -> None:
    point(folder, "")
    write(folder, "draft", 1)
    catalogue = Catalogue(folder)
    with pytest.raises(PolicyNotFound, match="run 'moderator policy activate market@3'"):
        catalogue.get("market")
    with pytest.raises(PolicyNotFound, match="run 'moderator policy release draft@1'"):
        catalogue.get("draft")


def test_select(folder: Path) -> None:
    point(folder, "market: {active: 1, shadow: [2, 3], canary: {version: 2, percent: 50}}")
    catalogue = Catalogue(folder)
    seen = set()
    for n in range(100):
        selection = catalogue.select("market", f"web:{n}")
        assert selection == catalogue.select("market", f"web:{n}")
        seen.add((selection.decides.version, tuple(p.version for p in selection.shadows)))
    assert seen == {(1, (2, 3)), (2, (3,))}
    point(folder, "market: {active: 1, shadow: [1], canary: {version: 2, percent: 100}}")
    assert catalogue.refresh()
    selection = catalogue.select("market", "web:1")
    assert (selection.decides.version, [p.version for p in selection.shadows]) == (2, [1])


def test_refresh_takes_up_changes_and_only_those(folder: Path) -> None:
    catalogue = Catalogue(folder)
    first = catalogue.get("market")
    assert not catalogue.refresh()
    point(folder, "market: {active: 2}")
    assert catalogue.refresh()
    assert not catalogue.refresh()
    assert catalogue.get("market").version == 2
    assert catalogue.get("market", 1) is first, "an untouched file is not read again"
    write(folder, "new", 1)
    assert catalogue.refresh()
    assert catalogue.get("new", 1).name == "new"


def test_a_broken_file_never_replaces_a_working_policy(folder: Path) -> None:
    catalogue = Catalogue(folder)
    before = catalogue.get("market")
    good = (folder / "market" / "1.yaml").read_text()
    write(folder, text="name: [")
    assert catalogue.refresh()
    assert catalogue.get("market") is before
    assert catalogue.get("market", 1) is before
    assert kinds(catalogue) == [PolicyInvalid]
    write(folder, text=good)
    assert catalogue.refresh()
    assert catalogue.problems == ()


def test_an_edited_release_never_replaces_it(folder: Path) -> None:
    catalogue = Catalogue(folder)
    digest = catalogue.get("market").digest
    write(folder, block=0.99)
    catalogue.refresh()
    assert catalogue.get("market").digest == digest
    assert kinds(catalogue) == [PolicyChanged]
    fresh = Catalogue(folder)
    assert kinds(fresh) == [PolicyChanged, PolicyNotFound]
    with pytest.raises(PolicyChanged):
        fresh.get("market", 1)
    with pytest.raises(PolicyNotFound, match="moderator policy lint market"):
        fresh.get("market")


def test_a_broken_pointer_file_keeps_the_old_pointers(folder: Path) -> None:
    catalogue = Catalogue(folder)
    for text in ("market: 2", "market: {active: 2", "\tx"):
        point(folder, text)
        assert catalogue.refresh()
        assert catalogue.get("market").version == 1
        assert kinds(catalogue) == [PolicyInvalid]
    (folder / "active.yaml").unlink()
    assert catalogue.refresh()
    assert catalogue.get("market").version == 1
    assert "is gone" in str(catalogue.problems[0])


def test_a_pointer_to_nothing_usable_keeps_the_old_one(folder: Path) -> None:
    catalogue = Catalogue(folder)
    write(folder, version=4)
    write(folder, version=5, text="x: y")
    targets = [
        ("{active: 4}", [PolicyUnreleased]),
        ("{active: 9}", [PolicyNotFound]),
        ("{active: 5}", [PolicyNotFound]),
        ("{active: 2, shadow: [9]}", [PolicyNotFound]),
        ("{active: 2, canary: {version: 4, percent: 1}}", [PolicyUnreleased]),
    ]
    for text, expected in targets:
        point(folder, f"market: {text}")
        catalogue.refresh()
        assert catalogue.get("market").version == 1, text
        assert kinds(catalogue)[1:] == expected, text
    assert "run 'moderator policy release market@4'" in str(catalogue.problems[-1])


def test_one_broken_pointer_does_not_hold_up_the_others(folder: Path) -> None:
    write_released(folder, "family")
    point(folder, "market: {active: 1}\nfamily: {active: 1}\n")
    catalogue = Catalogue(folder)
    point(folder, "market: {active: 9}\nfamily: {active: 2}\n")
    catalogue.refresh()
    assert (catalogue.get("market").version, catalogue.get("family").version) == (1, 2)
    point(folder, "family: {active: 2}\n")
    catalogue.refresh()
    with pytest.raises(PolicyNotFound, match="no version of 'market' is active"):
        catalogue.get("market")


def test_a_broken_shadow_does_not_stop_the_active_version_at_the_start(folder: Path) -> None:
    point(folder, "market: {active: 1, shadow: [2, 9], canary: {version: 8, percent: 100}}")
    catalogue = Catalogue(folder)
    selection = catalogue.select("market", "web:1")
    assert (selection.decides.version, [p.version for p in selection.shadows]) == (1, [2])
    assert kinds(catalogue) == [PolicyNotFound, PolicyNotFound]


def test_deleted_files(folder: Path) -> None:
    catalogue = Catalogue(folder)
    (folder / "market" / "1.yaml").unlink()
    catalogue.refresh()
    assert catalogue.get("market").version == 1
    with pytest.raises(PolicyNotFound):
        catalogue.get("market", 1)
    (folder / LOCK_FILE).write_text("nonsense")
    catalogue.refresh()
    assert catalogue.get("market").version == 1
    assert catalogue.get("market", 2).version == 2


def test_first_load(tmp_path: Path) -> None:
    with pytest.raises(PolicyNotFound, match="does not exist"):
        Catalogue(tmp_path / "none")
    with pytest.raises(PolicyNotFound, match="no policy in"):
        Catalogue(tmp_path)
    write(tmp_path, text="x: y")
    with pytest.raises(PolicyInvalid, match="unknown key"):
        Catalogue(tmp_path)
    write(tmp_path, "good", 1)
    catalogue = Catalogue(tmp_path)
    assert kinds(catalogue) == [PolicyInvalid]
    with pytest.raises(PolicyInvalid):
        catalogue.get("market", 1)


def test_files_that_would_be_overlooked_are_told(folder: Path) -> None:
    (folder / "market" / "4.yml").write_text("x")
    write(folder, "market", 5).rename(folder / "market" / "draft.yaml")
    (folder / "market" / ".hidden.yaml").write_text("x")
    (folder / "market" / "README.md").write_text("x")
    text = "\n".join(map(str, Catalogue(folder).problems))
    assert "rename it to 4.yaml" in text
    assert "is 5 in the file 'draft.yaml'" in text
    assert len(text.splitlines()) == 2


def test_readers_see_whole_states(folder: Path) -> None:
    catalogue = Catalogue(folder)
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            selection = catalogue.select("market", "web:1")
            if [p.version for p in selection.shadows] != [selection.decides.version + 1]:
                wrong.append(selection)

    readers = [threading.Thread(target=read) for _ in range(2)]
    point(folder, "market: {active: 1, shadow: [2]}")
    catalogue.refresh()
    for reader in readers:
        reader.start()
    try:
        for n in range(40):
            active = 1 + n % 2
            point(folder, f"market: {{active: {active}, shadow: [{active + 1}]}}")
            catalogue.refresh()
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not wrong


def test_the_policies_that_come_with_the_project_are_sound() -> None:
    catalogue = Catalogue(REPOSITORY / "policies")
    assert [str(p) for p in catalogue.problems] == []
    names = {name for name, _ in catalogue.snapshot.policies}
    assert {"classic", "marketplace", "family-safe"} <= names
    # Its thresholds were not measured here, and it needs a file that does not come along.
    assert names - set(catalogue.snapshot.resolved) == {"explicit"}
    assert ("explicit", 1) in catalogue.snapshot.releases
    for name in catalogue.snapshot.resolved:
        assert catalogue.select(name, "web:1").decides.name == name


LISTED = """\
name: listed
version: 1
signals: [{{name: bad, kind: hash-list, file: lists/bad.pdq, sha256: {digest}}}]
categories: {{known: {{signal: bad}}}}
"""
GOOD, BAD = b"0f" * 32 + b"\n", b"1f" * 32 + b"\n"


def write_listed(folder: Path) -> Path:
    """A policy with the file of a signal, which has the content `GOOD`; returns where that file lies."""
    write(folder, "listed", 1, text=LISTED.format(digest=sha256(GOOD).hexdigest()))
    file = folder / "lists" / "bad.pdq"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(GOOD)
    return file


@pytest.mark.parametrize("at_the_start", [True, False])
def test_the_file_of_a_signal_is_looked_at_again(folder: Path, at_the_start: bool) -> None:
    file = write_listed(folder)
    if at_the_start:
        file.write_bytes(BAD)
    catalogue = Catalogue(folder)
    if not at_the_start:
        file.write_bytes(BAD)
        assert catalogue.refresh()
    assert kinds(catalogue) == [PolicyInvalid]
    assert "has another content" in str(catalogue.problems[0])
    file.write_bytes(GOOD)
    assert catalogue.refresh()
    assert catalogue.problems == ()
    assert catalogue.get("listed", 1).reference == "listed@1"
    assert not catalogue.refresh()


def test_the_file_of_a_signal_in_another_folder_is_looked_at_again(folder: Path, tmp_path: Path) -> None:
    write_listed(folder).unlink()
    elsewhere = tmp_path / "cache"
    tried = []
    catalogue = Catalogue(folder, (elsewhere,))
    release(folder, "listed", 1)
    point(folder, "market: {active: 1}\nlisted: {active: 1}")
    catalogue.refresh()
    catalogue.require(lambda policy: tried.append(policy.name))
    assert not catalogue.refresh()
    tried.clear()
    (elsewhere / "lists").mkdir(parents=True)
    (elsewhere / "lists" / "bad.pdq").write_bytes(GOOD)
    assert catalogue.refresh()
    assert "listed" in tried


READ_ERRORS = [
    OSError(EIO, "Input/output error"),
    OSError(ESTALE, "Stale file handle"),
    PermissionError(EACCES, "no"),
]


@pytest.mark.parametrize("error", READ_ERRORS)
@pytest.mark.parametrize("at_the_start", [True, False])
@pytest.mark.parametrize("name", ["1.yaml", "releases.lock", "active.yaml"])
def test_what_could_not_be_read_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, at_the_start: bool, name: str
) -> None:
    catalogue = None if at_the_start else Catalogue(folder)
    open_path = Path.open

    def fail(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise error
        return open_path(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        if catalogue is None:
            catalogue = Catalogue(folder)
        else:
            os.utime(folder / "market" / "1.yaml")
            os.utime(folder / "releases.lock")
            os.utime(folder / "active.yaml")
            catalogue.refresh()
            assert catalogue.get("market").version == 1, "what worked stays in force"
        assert "cannot be read" in str(catalogue.problems[0])
    # Nothing about the files has changed.
    assert catalogue.refresh()
    assert catalogue.problems == ()
    assert catalogue.get("market").version == 1
    assert not catalogue.refresh()


@pytest.mark.parametrize("what", [".", "market"])
def test_a_folder_that_cannot_be_listed_is_listed_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    catalogue = Catalogue(folder)
    before = catalogue.snapshot
    listed = Path.iterdir

    def fail(path: Path) -> Any:
        if path == folder / what:
            raise OSError(EIO, "Input/output error")
        return listed(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", fail)
        assert catalogue.refresh()
        assert not catalogue.refresh()
        assert "cannot be listed" in str(catalogue.problems[0])
        assert catalogue.snapshot.policies == before.policies
        assert catalogue.snapshot.resolved == before.resolved
    assert catalogue.refresh()
    assert catalogue.problems == ()


def test_a_version_that_does_not_compile_never_goes_live(folder: Path) -> None:
    catalogue = Catalogue(folder)
    broken = {2}

    def admit(policy: Policy) -> None:
        if policy.version in broken:
            raise PolicyUnusable(f"{policy.reference} does not compile")

    catalogue.require(admit)
    for pointer in ("{active: 2}", "{active: 1, canary: {version: 2, percent: 100}}"):
        point(folder, f"market: {pointer}")
        assert catalogue.refresh()
        assert catalogue.select("market", "web:1").decides.version == 1
        assert kinds(catalogue) == [PolicyUnusable]
        assert "does not go live" in str(catalogue.problems[0])
    point(folder, "market: {active: 2}")
    catalogue.refresh()
    broken.clear()
    # Nothing about the files has changed.
    assert catalogue.refresh()
    assert catalogue.get("market").version == 2
    assert catalogue.problems == ()
    point(folder, "market: {active: 3, shadow: [1]}")
    broken.add(1)
    catalogue.refresh()
    assert catalogue.get("market").version == 3, "a shadow does not hold up what decides"
    assert kinds(catalogue) == [PolicyUnusable]


def test_what_does_not_compile_is_tried_less_and_less_often(folder: Path) -> None:
    catalogue = Catalogue(folder)
    tries = []

    def admit(policy: Policy) -> None:
        tries.append(policy.version)
        raise PolicyUnusable("no")

    catalogue.require(admit)
    with pytest.raises(PolicyUnusable, match="the active version cannot be used: no"):
        catalogue.get("market")
    tries.clear()
    assert not any(catalogue.refresh() for _ in range(100))
    assert 5 < len(tries) < 20
    assert list(catalogue.references()) == ["market@1", "market@2", "market@3"]


def test_what_events_may_name(folder: Path) -> None:
    write(folder, version=4)
    write(folder, "draft", 1)
    assert set(Catalogue(folder).references()) == {"market", "market@1", "market@2", "market@3"}
