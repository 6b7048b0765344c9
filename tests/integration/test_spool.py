"""Producers while Redis is away: what they were told is kept is delivered, in order and once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moderator.client import Client, Submitted
from moderator.errors import QueueUnavailable, SpoolFull, SpoolUnavailable
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.ledger import Acceptance
from moderator.queue.message import decode_message
from tests.support.service import environment, json_lines, make_client, run_cli, small_jpeg, until
from tests.support.small_disk import NoSmallDisk, SmallDisk
from tests.support.tools import needs

QUEUE = "moderation"

#: Submits one event after the other and says of each that it is kept; is killed in between.
PRODUCER = """
import itertools, sys
from moderator.client import Client
client = Client()
for n in itertools.count():
    kept = client.submit(path="/x.jpg", id=f"{sys.argv[1]}-{n}")
    print(kept.id, kept.acceptance, flush=True)
"""


def queued(client: Client) -> list[str]:
    """The ids on the queue, oldest first."""
    return [decode_message(message)["id"] for message in reversed(client.redis.lrange(QUEUE, 0, -1))]


@pytest.fixture
def spool(tmp_path: Path) -> str:
    return str(tmp_path / "spool")


@pytest.mark.parametrize("crash", [False, True])
def test_an_outage_loses_nothing_and_keeps_the_order(server: EmbeddedServer, spool: str, crash: bool) -> None:
    client = make_client(server.url, spool=spool)
    kept = [client.submit(path="/x.jpg", id=f"before-{n}") for n in range(3)]
    (server.kill if crash else server.stop)()
    kept += [client.submit(path="/x.jpg", id=f"away-{n}") for n in range(20)]
    assert [one.acceptance for one in kept] == [Acceptance.ACCEPTED] * 3 + [Acceptance.SPOOLED] * 20
    server.start()

    until(client.spool.empty)

    kept += [client.submit(path="/x.jpg", id="after")]
    assert kept[-1].acceptance is Acceptance.ACCEPTED
    assert queued(client) == [one.id for one in kept]
    assert client.ledger.pending() == len(kept)
    client.close()


def test_a_bulk_event_is_spooled_whole(server: EmbeddedServer, spool: str) -> None:
    client = make_client(server.url, spool=spool, spool_events="10")
    server.stop()
    many = client.submit_many([{"path": f"/{n}.jpg"} for n in range(8)], id="b")
    assert {one.acceptance for one in many} == {Acceptance.SPOOLED}
    with pytest.raises(SpoolFull):
        client.submit_many([{"path": f"/{n}.jpg"} for n in range(3)], id="c")
    server.start()
    until(client.spool.empty)
    assert client.ledger.pending() == 8
    client.close()


def test_the_same_id_in_the_spool_and_in_the_ledger_is_one_event(server: EmbeddedServer, spool: str) -> None:
    """As when the server took an event and its answer got lost."""
    client = make_client(server.url, spool=spool)
    client.submit(path="/x.jpg", id="a")
    server.kill()
    assert client.submit(path="/x.jpg", id="a").acceptance is Acceptance.SPOOLED
    server.start()
    until(client.spool.empty)
    assert queued(client) == ["a"]
    client.close()


@pytest.mark.slow
def test_producers_that_are_killed_lose_nothing_of_what_they_believe_in(
    server: EmbeddedServer, spool: str, tmp_path: Path
) -> None:
    server.stop()
    # A fixed count of what the parent has read, so that the kill hits at any moment of the next ones.
    producers = [
        subprocess.Popen(
            [sys.executable, "-c", PRODUCER, f"p{n}"],
            env=environment(redis_url=server.url, spool=spool),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
    ]

    def read_and_kill(producer: "subprocess.Popen[str]") -> list[str]:
        assert producer.stdout is not None
        told = [producer.stdout.readline() for _ in range(15)]
        producer.kill()
        told += producer.stdout.readlines()
        producer.wait()
        return [line.split()[0] for line in told if line.endswith("spooled\n")]

    with ThreadPoolExecutor(3) as pool:
        believed = list(pool.map(read_and_kill, producers))
    assert all(len(ids) >= 15 for ids in believed)
    server.start()
    client = make_client(server.url, spool=spool)
    until(client.spool.empty)

    ids = queued(client)
    for told in believed:
        assert [id for id in ids if id in set(told)] == told, "each once, in order"
    assert len(ids) == len(set(ids)) == client.ledger.pending()
    assert len(ids) - sum(map(len, believed)) <= 3, "what a killed one had kept and not yet told"
    client.close()


def test_a_disk_that_stays_full_does_not_hold_up_what_is_spooled(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    needs("mount", package="mount")
    try:
        disk = SmallDisk(tmp_path / "disk", 4_000_000)
    except NoSmallDisk as reason:
        pytest.skip(str(reason))
    with disk:
        client = make_client(server.url, spool=str(disk.folder / "spool"))
        server.stop()
        kept = [client.submit(path="/x.jpg", id=f"kept-{n}") for n in range(150)]
        disk.fill()
        with pytest.raises(SpoolUnavailable, match="full"):
            client.submit(path="/x.jpg", id="refused")
        server.start()

        until(lambda: client.ledger.pending() == len(kept))
        after = until(lambda: submitted(client, "after"))

        assert after.acceptance is Acceptance.ACCEPTED
        assert queued(client) == [one.id for one in [*kept, after]]
        client.close()


def submitted(client: Client, id: str) -> Submitted | None:
    """The event, or None while it is refused."""
    try:
        return client.submit(path="/x.jpg", id=id)
    except QueueUnavailable:
        return None


def test_without_a_spool_the_caller_is_told(server: EmbeddedServer) -> None:
    client = make_client(server.url)
    server.stop()
    with pytest.raises(QueueUnavailable, match="nothing is on the queue"):
        client.submit(path="/x.jpg")


def test_the_commands_spool_show_and_deliver(server: EmbeddedServer, spool: str, tmp_path: Path) -> None:
    image = small_jpeg(tmp_path / "a.jpg")
    ours = {"redis_url": server.url, "spool": spool}
    server.stop()

    submitted = run_cli("submit", str(image), "--json", cwd=tmp_path, **ours)
    assert submitted.returncode == 0, submitted.stderr
    (record,) = json_lines(submitted.stdout)
    assert record["acceptance"] == "spooled"
    shown = run_cli("spool", "show", "--json", cwd=tmp_path, **ours)
    (state,) = json_lines(shown.stdout)
    assert (state["events"], state["rejected"]) == (1, [])
    away = run_cli("spool", "deliver", cwd=tmp_path, **ours)
    assert away.returncode == 1
    assert "Redis did not accept" in away.stderr

    server.start()
    delivered = run_cli("spool", "deliver", cwd=tmp_path, **ours)
    assert (delivered.returncode, delivered.stdout) == (0, "delivered 1 messages\n"), delivered.stderr
    assert queued(make_client(server.url)) == [record["id"]]
    assert "0 events" in run_cli("spool", "show", cwd=tmp_path, **ours).stdout


def test_a_full_queue_ends_submit_where_it_is_told_not_to_wait(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    image = small_jpeg(tmp_path / "a.jpg")
    client = make_client(server.url, queue_limit="1")
    client.submit(path="/x.jpg")
    result = run_cli("submit", str(image), "--no-retry", cwd=tmp_path, redis_url=server.url, queue_limit="1")
    assert result.returncode == 1
    assert "the queue has no room" in result.stderr
    assert client.ledger.pending() == 1


def test_without_a_spool_its_commands_say_so(tmp_path: Path) -> None:
    result = run_cli("spool", "show", cwd=tmp_path)
    assert result.returncode == 2
    assert "MODERATOR_SPOOL" in result.stderr
