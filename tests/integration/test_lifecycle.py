"""Workers that start, stop, fall over and are replaced; servers that restart under them."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from moderator.cli.worker_server import serve_with_server
from moderator.client import Client
from moderator.errors import QueueUnavailable, SettingsError
from moderator.queue.embedded_server import EmbeddedServer, free_port
from moderator.verdicts import Decision
from tests.integration.conftest import StartWorker
from tests.support.service import WorkerProcess, make_client, run_first, until


def published(client: Client) -> Counter[str]:
    return Counter(v.event_id for _, v in client.verdicts.tail("0", follow=False))


@pytest.mark.slow
@pytest.mark.real_start
def test_a_stop_under_load_loses_nothing(
    server: EmbeddedServer, start_worker: StartWorker, images: Path, small_images: list[Path]
) -> None:
    client = make_client(server.url)
    bulk = [{"path": str(images / "red-panda.jpg")}] * 40
    events = client.submit_many(bulk, id="bulk")
    events += [client.submit(path=images / "red-panda.jpg", id=str(n)) for n in range(60)]
    first = start_worker(server.url)
    until(lambda: sum(published(client).values()) >= 10)

    first.send(signal.SIGTERM)

    assert first.wait() == 0, first.log
    answered = published(client)
    assert 10 <= sum(answered.values()) < 100, "nothing was left to do; the test shows nothing"
    assert "Traceback" not in first.log
    second = start_worker(server.url)
    for event in events:
        assert client.wait(event.id).decision is not Decision.ERROR
    assert second.stop() == 0
    assert published(client) == Counter(event.id for event in events)
    assert client.ledger.pending() == 0


@pytest.mark.slow
@pytest.mark.real_start
def test_a_worker_that_is_killed_is_stood_in_for_by_another(
    server: EmbeddedServer, start_worker: StartWorker, images: Path
) -> None:
    """The other takes over what the dead one had in hand, without a restart and within a lease."""
    client = make_client(server.url)
    workers = [start_worker(server.url, redeliver_after="2") for _ in range(2)]
    events = [client.submit(path=images / "red-panda.jpg", id=str(n)) for n in range(40)]
    until(lambda: sum(published(client).values()) >= 10)

    workers[0].kill()

    for event in events:
        assert client.wait(event.id, timeout=30).decision is not Decision.ERROR
    assert published(client) == Counter(event.id for event in events)
    # What was in hand at the time of the kill was given out again.
    assert workers[1].metrics()["moderation_redeliveries_total"] > 0


@pytest.mark.slow
def test_a_live_worker_gets_over_restarts_of_the_server(
    server: EmbeddedServer,
    start_worker: StartWorker,
    small_images: list[Path],
    small_model: dict[str, str],
) -> None:
    worker = start_worker(server.url, **small_model)
    client = make_client(server.url)
    pid = worker.pid
    for restart in range(2):
        events = [client.submit(path=small_images[n % 10], id=f"{restart}-{n}") for n in range(20)]
        events += client.submit_many([{"path": str(file)} for file in small_images], id=f"bulk-{restart}")
        (server.stop if restart % 2 else server.kill)()
        server.start()
        for event in events:
            assert client.wait(event.id, timeout=30).decision is not Decision.ERROR, worker.log
    assert set(published(client).values()) == {1}
    assert len(published(client)) == 2 * 30
    assert (worker.poll(), worker.pid) == (None, pid)
    assert worker.stop() == 0


#: What happens where memory is so short that a new thread dies before it says that it runs.
HANG = """
import os, threading
start = threading.Thread.start
def hang(self):
    if os.path.exists({flag!r}) and threading.current_thread() is threading.main_thread():
        threading.Event().wait()
    start(self)
threading.Thread.start = hang
"""


@pytest.mark.slow
def test_a_worker_whose_consumer_stands_still_ends_and_loses_nothing(
    server: EmbeddedServer,
    start_worker: StartWorker,
    small_images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flag = tmp_path / "hang"
    run_first(HANG.format(flag=str(flag)), tmp_path, monkeypatch)
    worker = start_worker(server.url)
    flag.touch()
    client = make_client(server.url)
    events = [client.submit(path=file) for file in small_images]

    assert worker.wait(timeout=60) == 1

    assert "stands still" in worker.log
    flag.unlink()
    start_worker(server.url)
    for event in events:
        assert client.wait(event.id, timeout=30).decision is not Decision.ERROR
    assert published(client) == Counter(event.id for event in events)


#: What happens where the work in all places waits for what never comes.
JAM = """
import os, threading
import workers.pipeline, workers.watchdog
workers.watchdog.FULL_WAIT_MAX_SECONDS = 3.0
process = workers.pipeline.Pipeline.process
def hang(self, events):
    if os.path.exists({flag!r}):
        threading.Event().wait()
    process(self, events)
workers.pipeline.Pipeline.process = hang
"""


@pytest.mark.slow
def test_a_worker_whose_places_are_full_without_progress_is_not_ready_and_ends(
    server: EmbeddedServer,
    start_worker: StartWorker,
    small_images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flag = tmp_path / "hang"
    run_first(JAM.format(flag=str(flag)), tmp_path, monkeypatch)
    quick = {"max_batch": "1", "fetch_timeout": "1", "decode_timeout": "1"}
    worker = start_worker(server.url, **quick)
    flag.touch()
    client = make_client(server.url)
    events = [client.submit(path=file) for file in small_images]

    until(lambda: not worker.ready(), what="not being ready")
    assert worker.poll() is None, "it was still there to say so"
    assert worker.wait(timeout=60) == 1

    assert "places are full" in worker.log
    flag.unlink()
    start_worker(server.url, **quick)
    for event in events:
        assert client.wait(event.id, timeout=30).decision is not Decision.ERROR
    assert published(client) == Counter(event.id for event in events)


def test_a_worker_waits_for_a_server_that_comes_late(
    server: EmbeddedServer, start_worker: StartWorker, small_images: list[Path]
) -> None:
    url = server.url
    server.stop()
    worker = start_worker(url, wait=False)
    until(lambda: "waiting for Redis" in worker.log, timeout=60)
    server.start()
    worker.wait_until_ready()
    client = make_client(url)
    assert client.wait(client.submit(path=small_images[0]).id).decision is not Decision.ERROR


@pytest.mark.real_start
def test_a_second_worker_on_the_same_port_says_so(
    worker: WorkerProcess, shared_server: EmbeddedServer, start_worker: StartWorker
) -> None:
    other = start_worker(shared_server.url, wait=False, metrics_port=str(worker.port))

    assert other.wait() == 2
    assert f"127.0.0.1:{worker.port}" in other.log
    assert "MODERATOR_METRICS_PORT" in other.log
    assert "Traceback" not in other.log


@pytest.mark.parametrize(
    ("setting", "value", "code", "told"),
    [
        pytest.param("encoder", "clap:x", 2, "clap", marks=pytest.mark.real_start),
        ("webhook_secret", "whsec_!!!", 2, "MODERATOR_WEBHOOK_SECRET"),
        ("max_attempts", "none", 2, "MODERATOR_MAX_ATTEMPTS"),
    ],
)
def test_a_wrong_setting_is_named(
    shared_server: EmbeddedServer, start_worker: StartWorker, setting: str, value: str, code: int, told: str
) -> None:
    worker = start_worker(shared_server.url, wait=False, **{setting: value})

    assert worker.wait() == code, worker.log
    assert told in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.slow
def test_a_worker_for_trying_has_a_server_of_its_own(
    policies: Path, images: Path, cache: Path, small_images: list[Path], tmp_path: Path
) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    settings = {"redis_url": url, "policies": str(policies), "fetch_roots": str(images), "cache": str(cache)}
    worker = WorkerProcess(tmp_path / "tried", **settings)
    worker.options = ("--with-server",)
    worker.start()
    try:
        client = make_client(url)
        assert client.wait(client.submit(path=small_images[0])).decision is not Decision.ERROR
        with pytest.raises(SettingsError, match="is taken"):
            serve_with_server(url, [])
    finally:
        code = worker.stop()
    assert code == 0, worker.log
    with pytest.raises(QueueUnavailable):
        client.verdict("x")


@pytest.mark.parametrize(
    "url",
    ["redis://example.org:6379/0", "rediss://localhost/0", "redis://:secret@localhost/0", "unix:///tmp/x"],
)
def test_a_server_for_trying_runs_only_here(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="leave out --with-server"):
        serve_with_server(url, [])
