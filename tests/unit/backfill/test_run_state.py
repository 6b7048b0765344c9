from pathlib import Path

import pyarrow.parquet
import pytest

from moderator.backfill import run_state as module
from moderator.backfill.run_state import Progress, RunState
from moderator.backfill.state_database import STATE_FILE, RunPlan
from moderator.errors import BackfillBusy, BackfillMismatch, BackfillUnreadable
from tests.support.backfill_service import a_row

PLAN = RunPlan("s", None, "classic")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results"


def paths(folder: Path) -> list[str]:
    found = [pyarrow.parquet.read_table(path).column("path").to_pylist() for path in folder.glob("*.parquet")]
    return sorted(path for some in found for path in some)


def opened(folder: Path, *names: str) -> RunState:
    state = RunState(folder, PLAN)
    state.add_names(names)
    return state


def test_each_image_has_one_row(folder: Path) -> None:
    state = opened(folder, "a", "b", "c")
    assert state.add_names(["b", "d"]) == 1
    a, b, c, d = (number for number, _ in state.waiting(10))
    assert state.record([(a, a_row("a")), (a, a_row("a")), (b, a_row("b", "ImageBroken"))]) == 2
    assert state.record([(a, a_row("a", "ImageBroken")), (c, a_row("c"))]) == 1
    state.write()
    assert paths(folder) == ["a", "b", "c"]
    assert state.failures() == {"ImageBroken": 1}
    assert [state.count(progress) for progress in Progress] == [1, 0, 2, 1]
    assert state.waiting(10) == [(d, "d")]
    state.close()
    again = RunState(folder, PLAN)
    assert [again.count(progress) for progress in Progress] == [1, 0, 2, 1]
    assert again.decisions() == {"allow": 2}


def test_parts_are_written_as_rows_come(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_ROWS", 2)
    state = opened(folder, *"abcde")
    for number, name in state.waiting(10):
        state.record([(number, a_row(name))])
    assert sorted(path.name for path in folder.glob("*.parquet")) == [
        "part-000000.parquet",
        "part-000001.parquet",
    ]
    state.close()  # killed: the last row is in the database alone
    again = RunState(folder, PLAN)
    again.write()
    assert paths(folder) == [*"abcde"]


def test_a_part_that_was_being_written_during_a_kill_counts_for_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = opened(folder, "a", "b")
    state.record([(number, a_row(name)) for number, name in state.waiting(10)])

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    monkeypatch.setattr(state._database, "transaction", kill)
    with pytest.raises(Killed):
        state.write()
    assert paths(folder) == ["a", "b"]
    state.close()
    again = RunState(folder, PLAN)
    assert paths(folder) == []
    again.write()
    assert paths(folder) == ["a", "b"]


def test_events_keep_their_ids_and_no_id_is_used_twice(folder: Path) -> None:
    state = opened(folder, "a", "b", "c")
    first = state.begin_bulk(state.waiting(2))
    assert [item.event_id for item in first] == [f"{first[0].bulk}/0", f"{first[0].bulk}/1"]
    state.record([(first[0].number, a_row("a", "FetchFailed"))])
    state.close()
    again = RunState(folder, PLAN)
    assert again.sent() == [[first[1]]]
    assert again.retry(["ImageBroken"]) == 0
    assert again.retry([]) == 1
    assert not (folder / "errors.parquet").exists()
    second = again.begin_bulk(again.waiting(1))
    assert second[0].name == "a"
    assert second[0].bulk != first[0].bulk
    again.record([(second[0].number, a_row("a"))])
    again.close()
    last = RunState(folder, PLAN)
    assert last.begin_bulk(last.waiting(1))[0].bulk not in (first[0].bulk, second[0].bulk)


def test_names_need_not_be_utf8(folder: Path) -> None:
    state = opened(folder, "caf\udce9.jpg")
    assert state.waiting(1)[0][1] == "caf\udce9.jpg"


def test_one_process_at_a_time(folder: Path) -> None:
    state = opened(folder)
    with pytest.raises(BackfillBusy, match="another process"):
        RunState(folder, PLAN)
    state.close()
    RunState(folder, PLAN).close()


@pytest.mark.parametrize(
    ("plan", "what"),
    [(RunPlan("t", None, "classic"), "source s"), (RunPlan("s", None, None), "policy classic")],
)
def test_another_plan_needs_another_folder(folder: Path, plan: RunPlan, what: str) -> None:
    opened(folder).close()
    with pytest.raises(BackfillMismatch, match=what):
        RunState(folder, plan)


def test_a_damaged_state_is_reported(folder: Path) -> None:
    folder.mkdir()
    (folder / STATE_FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(BackfillUnreadable, match="damaged"):
        RunState(folder, PLAN)


def test_a_part_that_is_gone_is_reported(folder: Path) -> None:
    state = opened(folder, "a")
    state.record([(number, a_row(name)) for number, name in state.waiting(10)])
    state.write()
    state.close()
    (folder / "part-000000.parquet").unlink()
    with pytest.raises(BackfillUnreadable, match=r"part-000000\.parquet is missing"):
        RunState(folder, PLAN)


def test_what_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackfillUnreadable, match="cannot be written"):
        RunState(tmp_path / "file" / "results", PLAN)


def test_columns_have_the_types_that_are_documented(folder: Path) -> None:
    state = opened(folder, "a")
    state.record([(number, a_row(name)) for number, name in state.waiting(10)])
    state.write()
    table = pyarrow.parquet.read_table(folder / "part-000000.parquet")
    row = table.to_pylist()[0]
    assert row["scores"] == [("weapons", 0.25)]
    assert row["policy_version"] is None
    assert str(table.schema.field("judged_at").type) == "timestamp[us, tz=UTC]"
