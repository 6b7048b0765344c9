from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderator.errors import QueueUnavailable, SpoolFull, SpoolUnavailable
from moderator.queue.spool_file import FILE, Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 10, 1000)


def waiting(spool: Spool) -> list[object]:
    found, last = [], 0
    while (entry := spool.next_after(last)) is not None:
        found.append(entry.body["id"])
        last = entry.number
    return found


def test_asking_makes_nothing(spool: Spool, tmp_path: Path) -> None:
    assert spool.empty()
    assert spool.state().events == 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_found_by_another_in_order(spool: Spool, tmp_path: Path) -> None:
    for n in range(3):
        spool.append({"id": n}, 1)
    other = Spool(tmp_path / "spool", 10, 1000)
    assert waiting(other) == [0, 1, 2]
    state = other.state()
    assert (state.events, state.size, state.rejected) == (3, 3 * len('{"id": 0}'), 0)
    assert state.oldest is not None


def test_it_is_for_this_user_alone(spool: Spool, tmp_path: Path) -> None:
    spool.append({"id": 1}, 1)
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    assert (tmp_path / "spool" / FILE).stat().st_mode & 0o077 == 0


def test_events_are_bounded(spool: Spool) -> None:
    spool.append({"id": 0}, 8)
    with pytest.raises(SpoolFull, match="not kept"):
        spool.append({"id": 1}, 3)
    spool.append({"id": 2}, 2)
    assert waiting(spool) == [0, 2]


def test_bytes_are_bounded(spool: Spool) -> None:
    with pytest.raises(SpoolFull, match="MODERATOR_SPOOL_BYTES"):
        spool.append({"id": "x" * 1000}, 1)
    assert spool.empty()


def test_what_is_delivered_makes_room(spool: Spool) -> None:
    numbers = [spool.append({"id": n}, 5) for n in range(2)]
    spool.remove_until(numbers[0])
    assert waiting(spool) == [1]
    assert spool.append({"id": 2}, 5) > numbers[1], "a number is never given twice"


def test_a_number_is_not_given_again_after_all_were_delivered(spool: Spool) -> None:
    first = spool.append({"id": 0}, 1)
    spool.remove_until(first)
    assert spool.append({"id": 1}, 1) > first


def test_what_no_queue_takes_is_set_aside_and_kept(spool: Spool) -> None:
    first, second = (spool.append({"id": n}, 1) for n in range(2))
    spool.reject(first, "no event")
    spool.remove_until(second)
    assert spool.empty()
    assert [(item.problem, item.body) for item in spool.rejected()] == [("no event", {"id": 0})]
    assert spool.state().rejected == 1


def test_one_delivers_at_a_time(spool: Spool) -> None:
    with spool.delivery() as ours, spool.delivery() as theirs:
        assert (ours, theirs) == (True, False)
    with spool.delivery() as again:
        assert again


def test_a_disk_that_does_not_take_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SpoolUnavailable, match="MODERATOR_SPOOL") as error:
        Spool(tmp_path / "file", 10, 1000).append({"id": 0}, 1)
    assert isinstance(error.value, QueueUnavailable), "callers know: it is kept nowhere"


def test_a_broken_file_is_told(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(SpoolUnavailable):
        spool.append({"id": 0}, 1)
    with pytest.raises(SpoolUnavailable):
        spool.empty()


def test_threads_side_by_side_lose_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000, 100_000)
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda n: spool.append({"id": n}, 1), range(40)))
    assert len(set(numbers)) == 40
    assert sorted(waiting(spool)) == list(range(40))


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 6), st.integers(0, 60)),
        st.tuples(st.just("remove"), st.integers(0, 12), st.just(0)),
        st.tuples(st.just("reject"), st.integers(0, 12), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(operations=OPERATIONS)
def test_order_and_bounds_whatever_is_done(operations: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as folder:
        spool = Spool(Path(folder), 10, 300)
        kept: dict[int, tuple[int, int]] = {}
        aside: set[int] = set()
        for step, (operation, count, length) in enumerate(operations):
            if operation == "append":
                body = {"id": step, "text": "x" * length}
                size = len(str(body).replace("'", '"'))
                room = sum(e for e, _ in kept.values()) + count <= 10
                room = room and sum(s for _, s in kept.values()) + size <= 300
                if room:
                    kept[spool.append(body, count)] = (count, size)
                else:
                    with pytest.raises(SpoolFull):
                        spool.append(body, count)
            elif operation == "remove":
                spool.remove_until(count)
                kept = {n: facts for n, facts in kept.items() if n > count or n in aside}
            else:
                spool.reject(count, "problem")
                aside |= {count} & kept.keys()
        numbers, last = [], 0
        while (entry := spool.next_after(last)) is not None:
            numbers.append(last := entry.number)
        assert numbers == sorted(kept.keys() - aside)
        state = spool.state()
        assert (
            (state.events, state.size) == tuple(map(sum, zip(*kept.values(), strict=True)))
            if kept
            else (0, 0)
        )
