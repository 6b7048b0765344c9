"""Readers of the stream: groups that share it, readers that die, are slow, or are left behind."""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from moderator.client import Client
from moderator.errors import VerdictsMissed, VerdictUnreadable
from moderator.queue import consumer, keys
from moderator.queue.disabled_webhooks import DisabledWebhooks
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.stream_state import read_stream, trim_stream
from moderator.queue.subscriptions import WEBHOOKS
from moderator.verdicts import Decision, Verdict
from tests.support.service import client_alone
from workers import backlog
from workers.trimmer import StreamTrimmer

IDLE = 0.4


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def client(request: pytest.FixtureRequest, shared_server: EmbeddedServer) -> Iterator[Client]:
    with client_alone(shared_server, f"8?protocol={request.param}") as client:
        yield client


def publish(client: Client, *numbers: int) -> None:
    with client.redis.pipeline(transaction=False) as pipe:
        for n in numbers:
            verdict = Verdict(event_id=str(n), source="s", decision=Decision.ALLOW, is_safe=True)
            pipe.xadd(keys.VERDICTS, {"verdict": verdict.model_dump_json()})
        pipe.execute()


def read(verdicts: Iterator[Verdict], count: int) -> list[int]:
    return [int(verdict.event_id) for verdict in islice(verdicts, count)]


def keep(client: Client, count: int) -> None:
    client.redis.xtrim(keys.VERDICTS, maxlen=count, approximate=False)


def acknowledge(client: Client, group: str = "g") -> None:
    """Also the last one, which its reader has in hand."""
    client.redis.xack(keys.VERDICTS, group, *[entry for entry, _ in client.redis.xrange(keys.VERDICTS)])


def state(client: Client, group: str = "g") -> Any:
    return next(found for found in read_stream(client.redis).groups if found.name == group)


# --- readers that die or are slow


def test_a_reader_that_comes_back_under_another_name_misses_nothing(client: Client) -> None:
    publish(client, *range(250))
    first = client.consume("g", "pod-1", idle=IDLE)
    seen = read(first, 30)  # and dies: 29 are acknowledged, 71 more were given to it
    time.sleep(IDLE)

    second = client.consume("g", "pod-2", idle=IDLE)
    seen += read(second, 221)

    assert sorted(set(seen)) == list(range(250)), "none is missing"
    assert [n for n, times in Counter(seen).items() if times > 1] == [29], (
        "only what it had in hand comes twice"
    )
    assert seen[30:101] == list(range(29, 100)), "in order"


def test_two_dead_readers_with_much_are_stood_in_for_step_by_step(client: Client) -> None:
    publish(client, *range(1300))
    for name in ("dead-1", "dead-2"):
        client.redis.xgroup_create(keys.VERDICTS, "g", id="0") if name == "dead-1" else None
        client.redis.xreadgroup("g", name, {keys.VERDICTS: ">"}, count=600)
    time.sleep(IDLE)
    assert sorted(read(client.consume("g", "living", idle=IDLE), 1300)) == list(range(1300))


def test_what_another_reader_touched_a_moment_ago_stays_its_own(client: Client) -> None:
    publish(client, *range(3))
    slow = client.consume("g", "slow", idle=60)
    assert read(slow, 1) == [0]
    publish(client, 3)
    assert read(client.consume("g", "quick", idle=60), 1) == [3]
    assert read(slow, 2) == [1, 2]


def test_a_slow_reader_keeps_what_it_has_while_it_goes_on(client: Client) -> None:
    """Its whole batch takes longer than the idle time; no single verdict does."""
    publish(client, *range(8))
    slow = client.consume("g", "slow", idle=IDLE)
    other = client.consume("g", "other", idle=IDLE)
    seen = []
    for n in range(8):
        seen += read(slow, 1)
        time.sleep(IDLE / 2)
        publish(client, 100 + n)
        assert read(other, 1) == [100 + n]
    assert seen == list(range(8))


def test_a_reader_that_was_stopped_leaves_what_was_taken_from_it(client: Client) -> None:
    publish(client, *range(5))
    stopped = client.consume("g", "stopped", idle=IDLE)
    assert read(stopped, 1) == [0]
    time.sleep(IDLE)
    other = client.consume("g", "other", idle=IDLE)
    assert read(other, 3) == [0, 1, 2]
    publish(client, 5)
    assert read(stopped, 1) == [5], "1 to 4 are with the other reader"


def test_readers_that_are_gone_for_long_are_deleted_if_they_have_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(client, *range(3))
    gone = client.consume("g", "gone")
    assert read(gone, 3) == [0, 1, 2]
    client.redis.xreadgroup("g", "idle", {keys.VERDICTS: ">"})
    monkeypatch.setattr(consumer, "FORGET_AFTER_SECONDS", 0.2)
    time.sleep(0.3)
    publish(client, 3)
    assert read(client.consume("g", "new"), 1) == [3]
    names_left = {found["name"] for found in client.redis.xinfo_consumers(keys.VERDICTS, "g")}
    assert names_left == {b"gone", b"new"}, "the first still has the last that it was given"


def test_a_stream_that_redis_lost_is_read_from_its_beginning(client: Client) -> None:
    publish(client, 0)
    verdicts = client.consume("g", "one")
    assert read(verdicts, 1) == [0]
    client.redis.delete(keys.VERDICTS)
    publish(client, 1)
    assert read(verdicts, 1) == [1]


# --- readers that are left behind


def test_a_group_that_is_trimmed_past_learns_which_verdicts_it_missed(client: Client) -> None:
    publish(client, *range(700))
    verdicts = client.consume("g", "one")
    assert read(verdicts, 10) == list(range(10))
    verdicts.close()
    ids = [entry.decode() for entry, _ in client.redis.xrange(keys.VERDICTS)]
    keep(client, 60)

    with pytest.raises(VerdictsMissed) as gap:
        read(client.consume("g", "one"), 1)
    # 9 of the first 100 are acknowledged; the other 91 of that batch are gone from the stream, too.
    with pytest.raises(VerdictsMissed) as given:
        read(client.consume("g", "one"), 1)
    assert read(client.consume("g", "one"), 60) == list(range(640, 700))

    assert gap.value.count == 540
    assert given.value.count == 91
    assert (given.value.start, given.value.end) == (ids[9], ids[99])
    assert key(ids[99]) < key(gap.value.start) <= key(ids[100])
    assert key(ids[639]) <= key(gap.value.end) < key(ids[640])
    assert "540 verdicts" in str(gap.value)
    assert "MODERATOR_STREAM_LIMIT" in str(gap.value)


def key(entry: str) -> tuple[int, ...]:
    return tuple(map(int, entry.split("-")))


def test_a_gap_is_told_to_a_callback_and_reading_goes_on(client: Client) -> None:
    gaps: list[VerdictsMissed] = []
    publish(client, *range(100))
    assert read(client.consume("g", "one", on_gap=gaps.append), 100) == list(range(100))
    acknowledge(client)
    publish(client, *range(100, 200))
    keep(client, 20)
    assert read(client.consume("g", "two", on_gap=gaps.append), 20) == list(range(180, 200))
    assert [gap.count for gap in gaps] == [80]
    acknowledge(client)
    # Counted from there on, and not again.
    publish(client, *range(200, 250))
    keep(client, 20)
    assert read(client.consume("g", "two", on_gap=gaps.append), 20) == list(range(230, 250))
    assert [gap.count for gap in gaps] == [80, 30]


def test_one_reader_of_a_group_learns_of_a_gap(client: Client) -> None:
    publish(client, *range(10))
    assert read(client.consume("g", "one"), 10) == list(range(10))
    acknowledge(client)
    publish(client, *range(10, 30))
    keep(client, 5)
    gaps: list[VerdictsMissed] = []
    readers = [client.consume("g", name, on_gap=gaps.append) for name in ("one", "two")]
    assert read(readers[0], 1) == [25]
    publish(client, 30)
    assert read(readers[1], 1) == [30]
    assert [gap.count for gap in gaps] == [15]


def test_a_group_that_has_read_nothing_yet_learns_of_it_too(client: Client) -> None:
    verdicts = client.consume("g", "one")
    publish(client, 0)
    assert read(verdicts, 1) == [0]  # the group exists
    client.redis.delete(keys.VERDICTS)
    publish(client, *range(50))
    keep(client, 40)
    quiet = client.consume("quiet", "one", on_gap=lambda gap: pytest.fail(str(gap)))
    assert read(quiet, 40) == list(range(10, 50)), "a new group begins with what is kept"
    client.redis.eval(
        "return redis.call('XGROUP', 'CREATE', KEYS[1], 'late', '0', 'ENTRIESREAD', '10')", 1, keys.VERDICTS
    )
    publish(client, *range(50, 60))
    keep(client, 10)
    with pytest.raises(VerdictsMissed) as gap:
        read(client.consume("late", "one"), 1)
    assert gap.value.count == 40


def test_no_gap_where_all_that_was_trimmed_had_been_read(client: Client) -> None:
    def fail(gap: VerdictsMissed) -> None:
        pytest.fail(str(gap))

    for start in range(0, 500, 50):
        publish(client, *range(start, start + 50))
        assert read(client.consume("g", "one", on_gap=fail), 50) == list(range(start, start + 50))
        acknowledge(client)
        keep(client, 0 if start % 100 else 1)


def test_a_gap_is_seen_where_the_server_counts_nothing(client: Client) -> None:
    """As before Redis 7, and for a group whose position was set by hand."""
    publish(client, *range(20))
    entries = [entry for entry, _ in client.redis.xrange(keys.VERDICTS)]
    client.redis.xgroup_create(keys.VERDICTS, "g", id=entries[4])
    assert state(client).lag is None
    keep(client, 8)
    assert (state(client).lag, state(client).missed) == (8, 0)
    with pytest.raises(VerdictsMissed) as gap:
        read(client.consume("g", "one"), 1)
    assert gap.value.count is None
    assert read(client.consume("g", "one"), 8) == list(range(12, 20))


def test_tail_from_an_entry_that_is_trimmed_says_so(client: Client) -> None:
    publish(client, *range(30))
    entries = [entry.decode() for entry, _ in client.redis.xrange(keys.VERDICTS)]
    keep(client, 10)
    assert [int(v.event_id) for _, v in client.verdicts.tail("0", follow=False)] == list(range(20, 30))
    with pytest.raises(VerdictsMissed) as gap:
        list(client.verdicts.tail(entries[4], follow=False))
    assert key(entries[4]) < key(gap.value.start) <= key(entries[5])
    assert key(entries[19]) <= key(gap.value.end) < key(entries[20])
    after = client.verdicts.tail(gap.value.end, follow=False)
    assert [int(v.event_id) for _, v in after] == list(range(20, 30))
    gaps: list[VerdictsMissed] = []
    told = client.verdicts.tail(entries[4], follow=False, on_gap=gaps.append)
    assert [int(v.event_id) for _, v in told] == list(range(20, 30))
    assert len(gaps) == 1


# --- trimming


def test_trimming_waits_for_groups_that_are_behind(client: Client) -> None:
    publish(client, *range(1000))
    verdicts = client.consume("g", "one")
    assert read(verdicts, 250) == list(range(250))  # 249 acknowledged, 51 more given
    first = client.redis.xrange(keys.VERDICTS, count=1)[0][0]

    trim_stream(client.redis, 100)

    left = [
        int(Verdict.model_validate_json(fields[b"verdict"]).event_id)
        for _, fields in client.redis.xrange(keys.VERDICTS)
    ]
    assert client.redis.xrange(keys.VERDICTS, count=1)[0][0] != first
    assert 0 < left[0] <= 249, "what is given and not acknowledged is still there"
    assert read(verdicts, 750) == list(range(250, 1000))
    next_one = state(client)
    assert (next_one.lag, next_one.missed) == (0, 0)


def test_trimming_goes_to_the_length_where_nobody_is_behind(client: Client) -> None:
    publish(client, *range(1000))
    assert trim_stream(client.redis, 100) > 0
    assert 100 <= client.redis.xlen(keys.VERDICTS) < 250
    assert trim_stream(client.redis, 5000) == 0
    client.redis.delete(keys.VERDICTS)
    assert trim_stream(client.redis, 0) == 0


def test_how_far_groups_are(client: Client) -> None:
    assert read_stream(client.redis).groups == ()
    publish(client, *range(20))
    verdicts = client.consume("g", "one")
    assert state_is(client, verdicts, 5)
    client.redis.xgroup_create(keys.VERDICTS, "new", id="0")
    assert (state(client, "new").lag, state(client, "new").pending) == (20, 0)
    time.sleep(0.05)
    assert 0.05 <= state(client).oldest_age < 60
    keep(client, 4)
    publish(client, 20)
    client.redis.xgroup_create(keys.VERDICTS, "end", id="$")
    end = state(client, "end")
    assert (end.lag, end.pending, end.missed, end.oldest_age) == (0, 0, 0, 0)
    assert (state(client, "new").lag, state(client, "new").missed) == (5, 0)


def state_is(client: Client, verdicts: Iterator[Verdict], count: int) -> bool:
    assert read(verdicts, count) == list(range(count))
    found = state(client)
    return (found.lag, found.pending, found.missed) == (0, 20 - count + 1, 0)


def test_the_trimmer_says_once_which_group_is_left_behind(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    publish(client, *range(50))
    assert read(client.consume("g", "one"), 5) == list(range(5))
    client.redis.xreadgroup("g", "one", {keys.VERDICTS: ">"})
    acknowledge(client)
    publish(client, *range(50, 100))
    keep(client, 20)
    trimmer = StreamTrimmer(client.redis, 100)
    with caplog.at_level(logging.WARNING):
        trimmer.trim()
        trimmer.trim()
    (record,) = caplog.records
    assert "group g " in record.getMessage()
    assert "30 verdicts" in record.getMessage()


def test_metrics_show_the_groups_most_behind(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(client, *range(3))
    for name in ("a", "b", "c"):
        client.redis.xgroup_create(keys.VERDICTS, name, id="0" if name == "b" else "$")
    monkeypatch.setattr(backlog, "SHOWN_GROUPS", 1)
    shown = backlog.read_outgoing(client.redis, DisabledWebhooks(client.redis), [WEBHOOKS])
    assert [(group.name, group.lag) for group in shown.stream.groups] == [("b", 3)]
    assert shown.stream.length == 3


# --- entries that are no verdicts


@pytest.mark.parametrize(
    "fields",
    [
        {"other": "x"},
        {"verdict": "no JSON"},
        {"verdict": b"\xff\xfe"},
        {"verdict": "[]"},
        {"verdict": '{"event_id": "1", "decision": "quarantine"}'},
        {"verdict": "[" * 100_000},
    ],
    ids=["fields", "text", "bytes", "type", "version", "depth"],
)
def test_what_is_no_verdict_is_skipped_and_holds_up_nothing(
    client: Client, fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    publish(client, 0)
    entry = client.redis.xadd(keys.VERDICTS, fields).decode()
    publish(client, 1, 2)
    with caplog.at_level(logging.WARNING):
        assert read(client.consume("g", "one"), 3) == [0, 1, 2]
    assert entry in caplog.text
    assert state(client).pending == 1, "it is acknowledged; the last verdict is still in hand"
    assert [int(v.event_id) for _, v in client.verdicts.tail("0", follow=False)] == [0, 1, 2]
    assert [int(v.event_id) for v in client.verdicts.newest(4)] == [0, 1, 2]


def test_a_verdict_of_another_version_is_a_typed_error(client: Client) -> None:
    client.redis.set(keys.VERDICT_PREFIX + "moderator:x", '{"decision": "quarantine"}')
    with pytest.raises(VerdictUnreadable, match="another version"):
        client.verdict("x")
