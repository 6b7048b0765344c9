"""The service as in its containers: no rights, a root that cannot be written, only the places that compose names."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis.exceptions import RedisError

from moderator.archive.archive_metrics import ARCHIVED
from moderator.operations.doctor.findings import Level
from moderator.operations.doctor.server_checks import RIGHTS, check_durability, check_eviction
from moderator.operations.doctor.server_facts import look
from moderator.queue.connection import connect
from moderator.queue.embedded_server import EmbeddedServer, _server_binary, free_port
from moderator.queue.executors import RedisExecutor
from moderator.queue.ledger import Ledger
from moderator.queue.subscriptions import Subscriptions
from moderator.settings import Settings
from moderator.verdicts import Decision
from tests.support import container
from tests.support.gateway_process import GatewayCaller, make_key
from tests.support.ledger_events import event, publish
from tests.support.service import DEMO, WorkerProcess, environment, make_client, until

PASSWORD = "kHf83nNsA-29fsd_Jsl20dkfLs"

WHY_NOT = container.why_not()
in_a_container = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


class Contained(WorkerProcess):
    """A service of the compose file, in a container."""

    def __init__(self, folder: Path, service: str, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.service = service

    def start(self, *, wait: bool = True) -> "Contained":
        (self.folder / "root").mkdir()
        ours = {name: v for name, v in environment(**self.settings).items() if name.startswith("MODERATOR_")}
        words = container.command(
            self.folder / "root",
            [container.PYTHON, "-m", "moderator", self.service],
            {container.ROOT / "policies": "/srv/policies", DEMO: "/uploads"},
            {**ours, "OMP_NUM_THREADS": "1"},
            self.service,
        )
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(words, stdout=output, stderr=output, cwd="/")
        if wait:
            self.wait_until_ready()
        return self

    def ready(self) -> bool:
        return self.get_status("/readyz" if self.service == "gateway" else "/ready") == 200

    @property
    def inside(self) -> int:
        """Process id of the worker itself, outside of the container: the child of what made its namespaces."""
        return psutil.Process(self.pid).children()[0].pid

    def kill(self) -> None:
        """With the first process in its namespace all in there end; what made the namespaces ends with it."""
        os.kill(self.inside, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def written(self) -> set[str]:
        """Files in the places that can be written."""
        root = Path(f"/proc/{self.inside}/root")
        places = container.tmpfs(self.service)
        files = (path for place in places for path in (root / place[1:]).rglob("*") if path.is_file())
        return {str(path.relative_to(root)) for path in files}


@pytest.fixture
def worker(tmp_path: Path, server: EmbeddedServer) -> Iterator[Contained]:
    with connect(server.url) as redis:
        redis.execute_command("ACL", "SETUSER", "moderator", "on", f">{PASSWORD}", *RIGHTS.split())
    worker = Contained(
        tmp_path / "worker",
        "worker",
        redis_url=server.url.replace("://", f"://moderator:{PASSWORD}@"),
        policies="/srv/policies",
        fetch_roots="/uploads",
        threads="2",
    )
    yield worker.start()
    if worker.poll() is None:
        worker.kill()


@in_a_container
def test_the_container_can_write_what_compose_names_and_nothing_else(tmp_path: Path) -> None:
    facts = container.probe(tmp_path)
    writable = set(container.tmpfs("worker"))
    assert set(facts["writable"]) == writable
    elsewhere = set(facts["mounted_for_writing"]) - writable
    assert {place for place in elsewhere if not place.startswith(("/proc", "/dev/"))} == set()
    user, group = int(container.USER), int(container.GROUP)
    assert facts["ids"] == [user, user, group, group]
    assert user > 0
    assert set(facts["capabilities"]) == {"0" * 16}
    assert facts["no_new_privileges"] == "1"


@in_a_container
@pytest.mark.slow
def test_the_worker_judges_without_rights_on_a_root_that_cannot_be_written(
    worker: Contained, server: EmbeddedServer
) -> None:
    client = make_client(worker.settings["redis_url"])  # a producer with the worker's rights in Redis
    submitted = [
        client.submit(path="/uploads/cat.jpg"),
        client.submit(inline=(DEMO / "slideshow.gif").read_bytes()),
    ]
    submitted += client.submit_many([{"path": "/uploads/cat.jpg"}] * 2)
    for one in submitted:
        assert client.wait(one.id).decision is Decision.BLOCK, worker.log
    broken = client.submit(inline=b"no image")
    assert client.wait(broken.id).decision is Decision.ERROR
    (letter,) = client.dead_letters.newest(10)
    client.dead_letters.replay(letter)
    until(lambda: client.dead_letters.newest(10), what="a second death")
    assert next(iter(client.consume("readers", "one"))).event_id in {one.id for one in (*submitted, broken)}
    assert "2 decoding processes, system calls filtered" in worker.log
    assert os.stat(f"/proc/{worker.inside}").st_uid == int(container.USER)
    # All that was written is in the cache, and the decoders' shared memory is in no file system.
    written = worker.written()
    assert written
    assert {name for name in written if not name.startswith("var/cache/moderator/")} == set()
    for word in ("Read-only", "Permission denied", "cannot keep", "Traceback"):
        assert word not in worker.log
    # Decoders that die are replaced there, too.
    decoders = psutil.Process(worker.inside).children()
    assert len(decoders) == 2
    for decoder in decoders:
        decoder.kill()
    submitted = [client.submit(path="/uploads/cat.jpg") for _ in range(4)]
    assert {client.wait(one.id).decision for one in submitted} == {Decision.BLOCK}, worker.log
    until(lambda: sum(v for k, v in worker.metrics().items() if "decoder_restarts_total" in k) >= 1)
    os.kill(worker.inside, signal.SIGTERM)
    assert worker.wait() == 0, worker.log
    assert "Traceback" not in worker.log


@in_a_container
@pytest.mark.slow
def test_the_gateway_accepts_and_what_delivers_archives_in_their_containers(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    archive = container.COMPOSE["x-settings"]["MODERATOR_ARCHIVE_URL"].partition(":-")[2].removesuffix("}")
    settings = {"redis_url": server.url, "deliver": "apart", "archive_url": archive}
    port = str(free_port())
    gateway = Contained(tmp_path / "gateway", "gateway", metrics_port=port, gateway_port=port, **settings)
    deliver = Contained(tmp_path / "deliver", "deliver", **settings)
    for process in (gateway, deliver):
        process.start(wait=False)
    try:
        for process in (gateway, deliver):
            process.wait_until_ready()
        caller = GatewayCaller(int(port), make_key(server.url))
        status, answer, _ = caller.call("POST", "/v1/images", (DEMO / "cat.jpg").read_bytes(), "image/jpeg")
        assert (status, answer["acceptance"]) == (202, "accepted"), gateway.log
        with connect(server.url) as redis:
            wanted = Subscriptions.of(Settings(archive_url=archive))
            ledger = Ledger(RedisExecutor(redis), 30.0, subscriptions=wanted)
            publish(ledger, event(answer["id"], source=answer["source"]))
        until(lambda: sum(v for k, v in deliver.metrics().items() if k.startswith(ARCHIVED.name)) == 1)
        assert {name.partition("/archive.sqlite3")[0] for name in deliver.written()} == {
            "var/lib/moderator-archive"
        }
        status, listed, _ = caller.call("GET", "/v1/verdicts")
        assert (status, listed["items"]) == (200, []), "its own volume here, which compose shares"
        for process in (gateway, deliver):
            os.kill(process.inside, signal.SIGTERM)
            assert process.wait() == 0, process.log
            for word in ("Read-only", "Permission denied", "Traceback"):
                assert word not in process.log
    finally:
        for process in (gateway, deliver):
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("password", ["", "a-b_9"])
def test_the_password_in_the_compose_file_is_what_redis_takes(tmp_path: Path, password: str) -> None:
    """The server reads compose's own options, and the file of its own that compose makes."""
    config = tmp_path / "redis.conf"
    config.write_text(
        container.COMPOSE["configs"]["redis"]["content"].replace("${REDIS_PASSWORD:-}", password)
    )
    options = [*container.COMPOSE["services"]["redis"]["command"][1:], "--dir", str(tmp_path)]
    options = [str(config) if option == "/run/redis.conf" else option for option in options]
    options = ["200mb" if option.startswith("${REDIS_MAXMEMORY") else option for option in options]
    port = str(free_port())
    process = subprocess.Popen(
        [_server_binary(), *options, "--port", port, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL
    )
    try:
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        until(lambda: answers(url), what="an answer to the right password")
        facts = look(url)
        assert facts.open is not bool(password)
        assert check_eviction(facts).level is check_durability(facts).level is Level.OK
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    try:
        return bool(connect(url).ping())
    except RedisError:
        return False
