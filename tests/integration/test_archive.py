"""The archive on SQLite and on PostgreSQL: what it holds, where embeddings are, what is deleted and what is not."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from benchmarks.archive_kills import run_kills
from moderator.archive import day_decisions, segments
from moderator.archive.archive_records import read_delivery
from moderator.archive.archive_state import read_state
from moderator.archive.archive_store import Archive, open_archive
from moderator.archive.day_decisions import (
    among,
    count_frames,
    day_ends,
    days_of,
    decided_by,
    read_day,
    read_flags,
)
from moderator.archive.erasure import Erasure
from moderator.archive.evidence_reader import evidence_of, read_blocks
from moderator.archive.holds import list_holds, place_hold, release_hold
from moderator.archive.maintenance import Maintenance
from moderator.archive.retention import count_expired, retain
from moderator.archive.segments import list_segments, path_of, seal
from moderator.archive.tables import SCHEMA_REVISION, metadata
from moderator.archive.verdict_filter import VerdictFilter
from moderator.cli.main import app
from moderator.client import Client
from moderator.errors import (
    ArchiveFilterInvalid,
    ArchiveNewer,
    ArchiveUnavailable,
    HoldNotFound,
    SegmentBroken,
    SubjectHeld,
)
from moderator.operations.doctor.archive_checks import examine_archive
from moderator.queue import keys
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.executors import RedisExecutor
from moderator.queue.ledger import Answer, Ledger
from moderator.queue.outbox import Delivery, Outbox
from moderator.queue.spool_file import Spool
from moderator.queue.subscriptions import Subscriptions
from moderator.settings import Settings, load_settings
from moderator.verdicts import Decision, ImageFacts, ModelFacts, PolicyFacts
from tests.support.archived import (
    MODEL,
    NOON,
    fill,
    image_of,
    make_delivery,
    make_evidence,
    make_verdict,
)
from tests.support.ledger_events import body, event
from tests.support.service import client_alone

BY = ["sqlite", "postgresql"]
EVERYTHING = VerdictFilter()


@pytest.fixture
def settings(archive_settings: Settings) -> Settings:
    return archive_settings


@pytest.fixture(params=BY)
def unmade(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """An archive without tables."""
    if request.param == "sqlite":
        return Settings(archive_url=f"sqlite:///{tmp_path}/archive/verdicts.sqlite3")
    return Settings(archive_url=request.getfixturevalue("postgres").new_database())


@pytest.fixture
def archive(settings: Settings) -> Iterator[Archive]:
    with closing(open_archive(settings)) as archive:
        yield archive


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_FRAMES_MAX", 10)


def ids(archive: Archive, **filters: object) -> list[str]:
    return [one.verdict["event_id"] for one in archive.scan(VerdictFilter(**filters))]  # type: ignore[arg-type]


def frames(archive: Archive, **period: object) -> Counter[tuple[int, int]]:
    return Counter(
        (int(id), int(frame))
        for block in read_blocks(archive, **period)  # type: ignore[arg-type]
        for id, frame in zip(block.verdict_ids, block.frames, strict=True)
    )


# --- what it holds


def test_each_verdict_once_and_found_again(archive: Archive) -> None:
    assert vars(fill(archive, range(20))) == {"archived": 20, "repeated": 0, "erased": 0}
    assert vars(fill(archive, range(10, 30))) == {"archived": 10, "repeated": 10, "erased": 0}
    again = make_verdict(3, decision=Decision.ALLOW, created_at=NOON + timedelta(seconds=1))
    archive.add([read_delivery(make_delivery(again))])
    fill(archive, [40], created_at=NOON + timedelta(days=1), source="other", metadata={})

    assert len(ids(archive)) == 32
    assert ids(archive)[:2] == ["e40", "e3"], "newest first"
    assert ids(archive, event_id="e3") == ["e3", "e3"], "another verdict of the same event is another one"
    assert ids(archive, decision="block", until=NOON + timedelta(hours=1)) == [
        f"e{n}" for n in range(27, -1, -3)
    ]
    assert ids(archive, category="weapons") == ids(archive, decision="block") != []
    assert ids(archive, category="drugs") == []
    assert ids(archive, subject="user-7") == ["e27", "e17", "e7"]
    assert ids(archive, source="other", policy="market", since=NOON + timedelta(days=1)) == ["e40"]
    assert ids(archive, policy="none") == []
    state = read_state(archive)
    assert (state.verdicts, state.decisions, state.waiting_frames) == (32, {"allow": 22, "block": 10}, 31)
    assert (state.oldest, state.newest) == (NOON, NOON + timedelta(days=1))


def test_pages_go_on_where_they_ended(archive: Archive) -> None:
    fill(archive, range(25))
    first = archive.list_verdicts(EVERYTHING, None, 10)
    fill(archive, [99], created_at=NOON + timedelta(days=1))
    second = archive.list_verdicts(EVERYTHING, first.next, 10)
    last = archive.list_verdicts(EVERYTHING, second.next, 10)
    found = [item["event_id"] for page in (first, second, last) for item in page.items]
    assert found == [f"e{n}" for n in range(24, -1, -1)]
    assert last.next is None
    assert len(archive.list_verdicts(EVERYTHING, None, 10**9).items) == 26
    with pytest.raises(ArchiveFilterInvalid):
        archive.list_verdicts(EVERYTHING, "x", 10)


def test_odd_values_come_in_and_out(archive: Archive) -> None:
    odd = make_verdict(1, event_id="a\0%/'\"\u2028😀", source="s\\", metadata={"subject": "ü\0" * 200})
    plain = make_verdict(2, decision=Decision.ERROR, policy=None, image=None, model=None, categories={})
    archive.add([read_delivery(make_delivery(odd)), read_delivery(make_delivery(plain))])
    (found,) = archive.find(VerdictFilter(event_id=odd.event_id, source="s\\", subject="ü\0" * 200))
    assert found.verdict == json.loads(odd.model_dump_json())
    assert evidence_of(archive, found.id) is None


# --- where embeddings are


@pytest.mark.usefixtures("small_segments")
def test_embeddings_move_to_segments_and_are_the_same(archive: Archive) -> None:
    fill(archive, range(12), frames=2)
    other = ModelFacts(**{**MODEL.model_dump(), "revision": "r2"})
    archive.add([read_delivery(make_delivery(make_verdict(50), make_evidence(50, model=other)))])
    fill(archive, range(60, 65), created_at=NOON + timedelta(days=1))
    before = frames(archive)
    assert (before.total(), set(before.values())) == (24 + 1 + 5, {1})

    assert seal(archive) == 2, "what fills a segment"
    state = read_state(archive)
    assert (state.segments, state.segment_frames, state.waiting_frames) == (2, 20, 10)
    assert frames(archive) == before
    assert seal(archive) == 0
    assert seal(archive, now=NOON + timedelta(days=10_000)) == 3, "and what has waited"
    assert (read_state(archive).segments, read_state(archive).waiting_frames) == (5, 0)
    assert frames(archive) == before

    with archive.database.read() as connection:
        listed = list_segments(connection)
    assert len({(one.space, one.day) for one in listed}) == 3
    assert all(
        path_of(archive, one).match("model=hub-model-r*/day=2026-03-0?/segment-*.parquet") for one in listed
    )
    for verdict in archive.scan(EVERYTHING):
        number = int(verdict.verdict["event_id"][1:])
        kept = evidence_of(archive, verdict.id)
        assert kept is not None
        expected = make_evidence(number, 2 if number < 12 else 1)
        np.testing.assert_array_equal(kept.embeddings, expected.embeddings.astype(np.float16))
        assert kept.readings == expected.readings
    morning, evening = NOON - timedelta(hours=6), NOON + timedelta(hours=6)
    assert frames(archive, since=morning, until=evening).total() == 25
    assert frames(archive, since=evening).total() == 5
    assert frames(archive, until=morning).total() == 0


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("moment", ["before the file", "after the file"])
def test_a_crash_while_a_segment_is_written_loses_and_doubles_nothing(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    fill(archive, range(25))
    before = frames(archive)
    write = segments.write_segment

    def crash(*args: object) -> None:
        if moment == "after the file":
            write(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(segments, "write_segment", crash)
        with pytest.raises(KeyboardInterrupt):
            seal(archive)
    assert frames(archive) == before
    assert read_state(archive).segments == 0, "it is not there before it is whole"
    assert seal(archive) == 2
    assert frames(archive) == before
    files = [path for path in archive.folder.rglob("*") if path.is_file()]  # type: ignore[union-attr]
    assert len(files) == 2


def test_without_a_folder_embeddings_stay_in_the_database(settings: Settings) -> None:
    with closing(Archive(open_archive(settings).database, None)) as archive:
        fill(archive, range(3))
        assert seal(archive, everything=True) == 0
        assert frames(archive).total() == 3


def test_a_missing_segment_is_an_error(archive: Archive) -> None:
    fill(archive, range(3))
    seal(archive, everything=True)
    with archive.database.read() as connection:
        (segment,) = list_segments(connection)
    path_of(archive, segment).unlink()
    with pytest.raises(SegmentBroken):
        frames(archive)
    assert read_state(archive).missing_segments == (segment.path,)


def test_what_a_day_decided(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day_decisions, "READ_VERDICTS_MAX", 7)
    fill(archive, range(20))
    fill(archive, range(30, 36), policy=PolicyFacts(name="other", version=1))
    unseen = ImageFacts(sha256=image_of(0), width=1, height=1, format="GIF", frames_unseen=3)
    fill(archive, [50], decision=Decision.REVIEW, image=unseen, metadata={"frames_unseen": 0})
    fill(archive, [51], decision=Decision.REVIEW, metadata={"image": {"frames_unseen": 5}})
    failed = make_verdict(60, decision=Decision.ERROR, image=None, categories={})
    archive.add([read_delivery(make_delivery(failed))])
    fill(archive, [70], created_at=NOON + timedelta(days=1))
    numbers = {one.verdict["event_id"]: one.id for one in archive.scan(EVERYTHING)}
    days = days_of(archive, NOON - timedelta(hours=13), None)
    assert [day.isoformat() for day in days] == ["2026-03-01", "2026-03-02"]
    assert days_of(archive, None, NOON + timedelta(hours=12)) == days[:1]
    assert count_frames(archive, days) == 29
    period = day_ends(days[0], None, None)
    for policy, count, flagged in ((None, 28, 9), ("market", 22, 7), ("other", 6, 2), ("none", 0, 0)):
        found = read_day(archive, *period, decided_by(archive, policy))
        assert (found.count, found.errors) == (count, int(policy in (None, "market"))), policy
        listed = np.array(sorted(set(numbers.values())))
        wanted = among(listed, found.only) if found.only is not None else ~among(listed, found.without)
        review, block = (among(listed, ids) & wanted for ids in found.reached)
        assert block.sum() == flagged
        assert review.sum() == (2 if policy in (None, "market") else 0)
        assert found.unseen.tolist() == [numbers["e50"]]
    assert read_day(archive, NOON, NOON, decided_by(archive, None)).count == 0
    flags = {(id, category) for id, category, _ in read_flags(archive, numbers["e0"], numbers["e6"])}
    assert flags == {(numbers[f"e{n}"], "weapons") for n in (0, 3, 6)}


# --- retention and holds


@pytest.mark.usefixtures("small_segments")
def test_what_has_had_its_time_goes_unless_it_is_held(archive: Archive) -> None:
    old, young = NOON - timedelta(days=31), NOON - timedelta(days=5)
    fill(archive, range(12), created_at=old)
    fill(archive, range(20, 26), created_at=young)
    seal(archive)
    place_hold(archive, "case 1", subject="user-1")
    event_hold = place_hold(archive, "case 2", source="shop", event_id="e2")
    days = {Decision.ALLOW: 30}

    assert count_expired(archive, days, NOON) == {"allow": 5}
    assert retain(archive, days, NOON) == {"allow": 5}

    kept = {f"e{n}" for n in range(12) if n % 3 == 0 or n in (1, 11, 2)}
    assert set(ids(archive, until=young)) == kept
    assert len(ids(archive, since=young)) == 6
    assert frames(archive).total() == len(kept) + 6
    assert retain(archive, days, NOON) == {}

    release_hold(archive, event_hold)
    assert [hold.reason for hold in list_holds(archive)] == ["case 1"]
    with pytest.raises(HoldNotFound):
        release_hold(archive, event_hold)
    Maintenance(archive, days).step()
    assert "e2" not in ids(archive)
    assert "e1" in ids(archive)
    for wrong in ({}, {"subject": "x", "source": "s", "event_id": "e"}, {"source": "s"}, {"subject": ""}):
        with pytest.raises(ArchiveFilterInvalid):
            place_hold(archive, "nothing", **wrong)  # type: ignore[arg-type]


# --- erasure


@pytest.fixture
def client(module_server: EmbeddedServer, settings: Settings) -> Iterator[Client]:
    with client_alone(module_server, "3") as client:
        yield client


SUBJECT = "user-of-the-erasure-test-4711"


def spread(archive: Archive, client: Client, settings: Settings) -> tuple[list[str], list[str]]:
    """Put two subjects into all stores; return the strings that must be gone, and those that must stay."""
    subscriptions = Subscriptions.of(settings.model_copy(update={"outbox_consumers": ("audit",)}))
    ledger = Ledger(RedisExecutor(client.redis), 30.0, subscriptions=subscriptions)
    gone, stay = [SUBJECT], ["somebody-else"]
    for number in range(12):
        mine = number % 2 == 0
        subject = SUBJECT if mine else "somebody-else"
        name = f"{'gone' if mine else 'stay'}-{number}"
        verdict = make_verdict(number, event_id=name, source="shop", metadata={"subject": subject})
        upload = event(name, source="shop", metadata={"subject": subject}, reply={"webhook": "http://x/"})
        ledger.publish(
            [Answer(upload, verdict, evidence=make_evidence(number))], ttl=60.0, stream_length=1000
        )
        archive.add([read_delivery(make_delivery(verdict, make_evidence(number)))])
        letter = Delivery(f"shop:{name}#x", "http://x/", verdict.model_dump_json().encode(), 3, 0.0)
        client.dead_letters.bury_delivery("webhooks", letter, ArchiveUnavailable("as one that failed"))
        cached = f"space:{image_of(number)}"
        client.redis.zadd(keys.EMBEDDINGS, {cached: number})
        client.redis.hset(keys.EMBEDDING_PREFIX + cached, mapping={"facts": "{}", "vectors": "x"})
        (gone if mine else stay).extend((name, image_of(number)))
    fill(archive, range(100, 110), metadata={"subject": "somebody-else"})
    return gone, stay


def everywhere(archive: Archive, client: Client, server_folder: Path) -> bytes:
    """All that the stores hold, as bytes: rows or files of the database, segments, keys and values of Redis."""
    content = []
    folder = archive.folder
    assert folder is not None
    content += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    if archive.database.file is not None:
        content += [path.read_bytes() for path in archive.database.file.parent.iterdir() if path.is_file()]
    with archive.database.read() as connection:
        for table in metadata.sorted_tables:
            content += [repr(tuple(row)).encode() for row in connection.execute(sa.select(table))]
    for key in client.redis.scan_iter():
        kind = client.redis.type(key)
        value = {
            b"string": lambda k: client.redis.get(k),
            b"hash": lambda k: repr(client.redis.hgetall(k)).encode(),
            b"zset": lambda k: repr(client.redis.zrange(k, 0, -1)).encode(),
            b"stream": lambda k: repr(client.redis.xrange(k)).encode(),
            b"list": lambda k: repr(client.redis.lrange(k, 0, -1)).encode(),
        }[kind](key)
        content += [key, value]
    return b"\n".join(content)


@pytest.mark.usefixtures("small_segments")
def test_an_erasure_leaves_nothing_anywhere(
    archive: Archive, client: Client, settings: Settings, tmp_path: Path
) -> None:
    gone, stay = spread(archive, client, settings)
    assert seal(archive) == 2
    before = everywhere(archive, client, tmp_path)
    assert [text for text in gone + stay if text.encode() not in before] == []
    wanted = archive.find(VerdictFilter(subject=SUBJECT))
    late = [
        make_delivery(make_verdict(0, event_id="gone-0", metadata={"subject": SUBJECT}), make_evidence(0))
    ]
    rows = [evidence_of(archive, one.id).embeddings.tobytes() for one in wanted]  # type: ignore[union-attr]

    erasure = Erasure(archive, client.redis, Spool(tmp_path / "spool", 10, 10_000))
    preview = erasure.preview(SUBJECT)
    proof = erasure.erase(SUBJECT)

    assert proof.proved
    assert {
        store: count for store, count in proof.removed.items() if store != "rewritten segments"
    } == preview
    assert (
        preview
        == {
            "archived verdicts": 6,
            "archived evidence": 0,
            "archived flags": 2,
            "segments": 6,
            "verdict stream": 6,
            "verdicts by event": 6,
            "webhook deliveries": 6,
            "other deliveries": 12,
            "dead letters": 6,
            "embedding cache": 6,
        }
        or preview["segments"] + preview["archived evidence"] == 6
    )
    after = everywhere(archive, client, tmp_path)
    assert [text for text in gone if text.encode() in after] == []
    assert [row for row in rows if row in after] == [], "no embedding either"
    assert [text for text in stay if text.encode() not in after] == []
    assert frames(archive).total() == 16
    assert len(Outbox(client.redis, "webhooks")) == len(Outbox(client.redis, "archive")) == 6
    assert len(client.dead_letters) == 6

    added = archive.add([read_delivery(one) for one in late])
    assert (added.archived, added.erased) == (0, 1), "a late delivery of the same"
    again = make_verdict(0, event_id="gone-0", metadata={}, created_at=proof.erased_at + timedelta(hours=1))
    assert archive.add([read_delivery(make_delivery(again))]).erased == 1, "or of the same event"
    new = make_verdict(
        0, event_id="new", metadata={"subject": SUBJECT}, created_at=proof.erased_at + timedelta(hours=1)
    )
    assert archive.add([read_delivery(make_delivery(new))]).archived == 1, "but the subject may come back"
    assert json.dumps(proof.to_json()).count(SUBJECT) == 0


def test_events_without_a_verdict_keep_an_erasure_from_being_complete(
    archive: Archive, client: Client, tmp_path: Path
) -> None:
    fill(archive, range(3))
    spool = Spool(tmp_path / "spool", 10, 10_000)
    client.ledger.accept(body("waiting", metadata={"subject": "user-1"}))
    spool.append(body("spooled", metadata={"subject": "user-1"}), 1)
    proof = Erasure(archive, client.redis, spool).erase("user-1")
    assert not proof.proved
    assert proof.in_progress == {"ledger": 1, "queues": 1, "spool of this machine": 1}
    assert ids(archive) == ["e2", "e0"]


def test_a_hold_forbids_an_erasure(archive: Archive, client: Client) -> None:
    fill(archive, range(30))
    erasure = Erasure(archive, client.redis, None)
    number = place_hold(archive, "case 7", source="shop", event_id="e11")
    with pytest.raises(SubjectHeld, match="case 7"):
        erasure.erase("user-1")
    assert len(ids(archive, subject="user-1")) == 3
    erasure.erase("user-2")
    release_hold(archive, number)
    assert erasure.erase("user-1").proved
    place_hold(archive, "case 8", subject="nobody")
    with pytest.raises(SubjectHeld):
        erasure.erase("nobody")


@pytest.mark.usefixtures("small_segments")
def test_an_interrupted_erasure_is_completed_by_the_next(
    archive: Archive, client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone, _ = spread(archive, client, settings)
    seal(archive)
    write, calls = segments.write_segment, []

    def crash(*args: object) -> None:
        calls.append(args)
        write(*args)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(segments, "write_segment", crash)
        with pytest.raises(KeyboardInterrupt):
            Erasure(archive, client.redis, None).erase(SUBJECT)
    assert calls
    assert Erasure(archive, client.redis, None).erase(SUBJECT).proved
    after = everywhere(archive, client, tmp_path)
    assert [text for text in gone if text.encode() in after] == []


# --- crashes


@pytest.mark.slow
def test_an_archiver_that_is_killed_time_and_again_has_each_verdict_once(
    unmade: Settings, server: EmbeddedServer, tmp_path: Path
) -> None:
    row = run_kills(server.url, unmade.archive_url or "", tmp_path / "segments", 400, kills=2, rate=200.0)
    assert (row.archived, row.missing, row.doubled) == (400, 0, 0)
    assert row.repeated > 0, "no kill hit between writing and confirming, and this shows nothing"


# --- the schema


def test_migrations_make_the_tables_of_the_schema(archive: Archive) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    fill(archive, [1])
    assert archive.database.revision() == SCHEMA_REVISION
    with archive.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_an_older_program_leaves_a_newer_archive_alone(archive: Archive, settings: Settings) -> None:
    fill(archive, [1])
    with archive.database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with (
        closing(open_archive(settings)) as older,
        pytest.raises(ArchiveNewer, match=r"9999.*update this one"),
    ):
        fill(older, [2])


def test_many_may_make_the_tables_at_once(unmade: Settings) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def first_use(number: int) -> int:
        with closing(open_archive(unmade)) as archive:
            return fill(archive, range(number, number + 3)).archived

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(first_use, range(4))) == 6


def test_an_sqlite_file_is_for_its_user_alone(tmp_path: Path) -> None:
    with closing(open_archive(Settings(archive_url=f"sqlite:///{tmp_path}/a.sqlite3"))) as archive:
        fill(archive, [1])
        seal(archive, everything=True)
        assert (tmp_path / "a.sqlite3").stat().st_mode & 0o077 == 0
        assert archive.folder is not None
        assert archive.folder.stat().st_mode & 0o077 == 0
        with closing(sqlite3.connect(tmp_path / "a.sqlite3")) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# --- commands


@pytest.mark.parametrize("archive_settings", ["sqlite"], indirect=True)
def test_the_commands(
    settings: Settings,
    archive: Archive,
    module_server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    fill(archive, range(10))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODERATOR_ARCHIVE_URL", settings.archive_url or "")
    monkeypatch.setenv("MODERATOR_REDIS_URL", module_server.url)
    monkeypatch.setenv("MODERATOR_ARCHIVE_KEEP", "allow=30")
    load_settings.cache_clear()

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["archive", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    try:
        assert run("seal") == "wrote 1 segments\n"
        assert json.loads(run("status", "--json"))["segment_frames"] == 10
        assert "10 in 1 segments" in run("status")
        assert len(run("export", "--decision", "block").splitlines()) == 4
        assert len(run("export", "--format", "csv", "--since", "2026-02-01").splitlines()) == 11
        run("export", "--format", "parquet", "-o", "all.parquet")
        done = CliRunner().invoke(app, ["archive", "export", "--format", "dsa"])
        assert (done.exit_code, "4 without a statement: market@1" in done.stderr) == (1, True)
        assert run("hold", "place", "--subject", "user-1", "--reason", "case 1") == "hold 1\n"
        assert "user-1  case 1" in run("hold", "list")
        assert run("retain", "--dry-run") == "       5  allow\nwould delete 5\n"
        assert json.loads(run("retain", "--json"))["deleted"] == {"allow": 5}
        with pytest.raises(SubjectHeld):
            run("erase", "user-1", "--yes")
        run("hold", "release", "1")
        assert "1  archived verdicts" in run("erase", "user-1", "--dry-run")
        assert json.loads(run("erase", "user-1", "--yes", "--json"))["proved"]
        assert "the archive holds 4 verdicts" in next(examine_archive(load_settings())).message
    finally:
        load_settings.cache_clear()
