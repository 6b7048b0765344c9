"""A server that hangs: it takes connections and never answers. How long everybody waits, and what they are told."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moderator.client import Client
from moderator.errors import QueueFull, QueueUnavailable
from moderator.operations.doctor.server_checks import examine_server
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.ledger import Acceptance
from tests.integration.conftest import StartWorker
from tests.support.service import make_client, run_cli, small_jpeg, stopped, until
from tests.support.silent_server import SilentServer

#: Seconds: what is promised.
SUBMIT, HEALTH, COMMAND = 3.0, 2.0, 10.0


def seconds(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


def refuse(client: Client) -> None:
    with pytest.raises(QueueUnavailable, match="may be on the queue all the same"):
        client.submit(path="/x.jpg")


def test_submit_refuses_in_time_on_an_open_connection_and_on_a_new_one(server: EmbeddedServer) -> None:
    open_, new = make_client(server.url), make_client(server.url)
    open_.submit(path="/x.jpg")
    with stopped(server):
        for client in (open_, new, open_):
            assert seconds(lambda client=client: refuse(client)) < SUBMIT
        assert seconds(lambda: many(open_, lambda: refuse(open_))) < SUBMIT
    assert open_.submit(path="/x.jpg").acceptance is Acceptance.ACCEPTED


def many(client: Client, call: Callable[[], object], callers: int = 20) -> None:
    with ThreadPoolExecutor(callers) as pool:
        for one in [pool.submit(call) for _ in range(callers)]:
            one.result()


@pytest.mark.parametrize("full", [False, True])
def test_submit_refuses_in_time_where_the_network_drops_what_is_sent(full: bool) -> None:
    silent = SilentServer(full=full)
    client = make_client(silent.url)
    assert seconds(lambda: refuse(client)) < SUBMIT
    large = b"x" * 5_000_000
    start = time.monotonic()
    with pytest.raises(QueueUnavailable):
        client.submit(inline=large)
    assert time.monotonic() - start < SUBMIT
    silent.close()


def test_submit_spools_in_time_and_then_at_once(server: EmbeddedServer, tmp_path: Path) -> None:
    open_, new = (make_client(server.url, spool=str(tmp_path / name)) for name in ("open", "new"))
    ids = [open_.submit(path="/x.jpg").id]

    def submit(client: Client = open_) -> None:
        event = client.submit(path="/x.jpg")
        assert event.acceptance is Acceptance.SPOOLED
        ids.append(event.id)

    with stopped(server):
        assert seconds(lambda: many(open_, submit)) < SUBMIT
        assert seconds(lambda: submit(new)) < SUBMIT
        for client in (open_, new):
            # Whoever waits, waits for a second each time; a loaded machine may take as long once.
            quickest = min(seconds(lambda client=client: submit(client)) for _ in range(4))
            assert quickest < 0.9, "nobody waits for what is known to be away"
    until(lambda: open_.spool.empty() and new.spool.empty())
    assert open_.ledger.pending() == len(ids) == len(set(ids))
    open_.close()
    new.close()


def test_a_full_queue_is_told_whatever_is_spooled(server: EmbeddedServer, tmp_path: Path) -> None:
    client = make_client(server.url, queue_limit="2", spool=str(tmp_path / "spool"))
    client.submit(path="/x.jpg")
    server.stop()
    spooled = [client.submit(path="/x.jpg").acceptance for _ in range(4)]
    assert spooled == [Acceptance.SPOOLED] * 4
    server.start()
    until(lambda: client.ledger.pending() == 2)
    for _ in range(3):
        with pytest.raises(QueueFull, match="no room") as full:
            client.submit(path="/x.jpg")
        assert full.value.retry_after > 0
        assert "Redis does not answer" not in str(full.value)
    assert client.spool.state().events == 3
    client.close()


def test_waiting_for_a_verdict_ends_with_what_is_wrong(server: EmbeddedServer) -> None:
    client = make_client(server.url)
    event = client.submit(path="/x.jpg")
    calls = (lambda: client.wait(event, timeout=60), lambda: client.verdict(event))
    with stopped(server):
        for call in calls:
            start = time.monotonic()
            with pytest.raises(QueueUnavailable, match="Redis does not answer"):
                call()
            assert time.monotonic() - start < COMMAND


COMMANDS = [
    ("submit", "{image}"),
    ("verdicts", "tail"),
    ("verdicts", "show", "a", "--wait", "60"),
    ("dead-letters", "list"),
    ("dead-letters", "replay", "--all"),
    ("spool", "deliver"),
    ("doctor",),
]


@pytest.mark.slow
def test_commands_end_in_time_and_say_what_does_not_answer(server: EmbeddedServer, tmp_path: Path) -> None:
    image, spool = small_jpeg(tmp_path / "a.jpg"), str(tmp_path / "spool")
    away = make_client("redis://127.0.0.1:1/0", spool=spool)
    away.submit(path="/x.jpg")
    away.close()

    def run(command: tuple[str, ...]) -> None:
        arguments = [word.format(image=image) for word in command]
        ours = {"spool": spool} if "spool" in command else {}
        start = time.monotonic()
        result = run_cli(*arguments, cwd=tmp_path, redis_url=server.url, **ours)
        assert time.monotonic() - start < COMMAND, command
        assert result.returncode == 1, command
        told = result.stdout + result.stderr
        assert "Redis" in told, command
        assert "hang" in told or "MODERATOR_REDIS_URL" in told, command
        assert "Traceback" not in told, command

    run_cli("--version", cwd=tmp_path)  # starts what the commands are forked from, which takes long
    with stopped(server), ThreadPoolExecutor(2) as pool:
        list(pool.map(run, COMMANDS))


def test_the_doctor_says_that_the_server_hangs(server: EmbeddedServer) -> None:
    with stopped(server):
        (finding,) = examine_server(server.url)
    assert (finding.check, finding.level) == ("redis.reachable", "problem")
    assert "hangs" in finding.message


@pytest.mark.slow
def test_health_is_told_to_many_at_once_while_redis_hangs(
    server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path]
) -> None:
    worker = start_worker(server.url)
    client = make_client(server.url)
    assert "moderation_queue_depth{queue=moderation}" in worker.metrics()

    def ask(path: str, expected: int) -> None:
        for _ in range(3):
            assert seconds(lambda: statuses.append((path, worker.get_status(path) == expected))) < HEALTH

    statuses: list[tuple[str, bool]] = []
    with stopped(server), ThreadPoolExecutor(30) as pool:
        asked = [
            pool.submit(ask, *what)
            for what in (("/ready", 503), ("/live", 200), ("/metrics", 200))
            for _ in range(10)
        ]
        for one in asked:
            one.result()
        page = worker.metrics()
    assert all(good for _, good in statuses)
    assert page["moderation_ready"] == 0.0
    assert "moderation_queue_depth{queue=moderation}" not in page, "a stale backlog would look healthy"

    until(worker.ready, timeout=10)
    assert client.wait(client.submit(path=small_images[0]), timeout=10)
    until(lambda: "moderation_queue_depth{queue=moderation}" in worker.metrics())
    assert "consumer died" not in worker.log
