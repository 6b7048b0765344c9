"""The worker as in its container: no rights, a root that cannot be written, and only the places that compose names."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from moderator.operations.doctor.findings import Level
from moderator.operations.doctor.server_checks import RIGHTS, check_durability, check_eviction
from moderator.operations.doctor.server_facts import look
from moderator.queue.connection import connect
from moderator.queue.embedded_server import EmbeddedServer, _server_binary, free_port
from moderator.verdicts import Decision
from tests.support import container
from tests.support.service import DEMO, WorkerProcess, environment, make_client, until

PASSWORD = "kHf83nNsA-29fsd_Jsl20dkfLs"

WHY_NOT = container.why_not()
in_a_container = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


class ContainedWorker(WorkerProcess):
    """`moderator worker` in a container."""

    def start(self, *, wait: bool = True) -> "ContainedWorker":
        (self.folder / "root").mkdir()
        ours = {name: v for name, v in environment(**self.settings).items() if name.startswith("MODERATOR_")}
        words = container.command(
            self.folder / "root",
            [container.PYTHON, "-m", "moderator", "worker"],
            {container.ROOT / "policies": "/srv/policies", DEMO: "/uploads"},
            {**ours, "OMP_NUM_THREADS": "1"},
        )
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(words, stdout=output, stderr=output, cwd="/")
        if wait:
            self.wait_until_ready()
        return self

    @property
    def inside(self) -> int:
        """Process id of the worker itself, outside of the container: the child of what made its namespaces."""
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])

    def kill(self) -> None:
        """With the first process in its namespace all in there end; what made the namespaces ends with it."""
        os.kill(self.inside, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def written(self) -> set[str]:
        """Files in the places that can be written."""
        root = Path(f"/proc/{self.inside}/root")
        files = (
            path for place in container.WRITABLE for path in (root / place[1:]).rglob("*") if path.is_file()
        )
        return {str(path.relative_to(root)) for path in files}


@pytest.fixture
def worker(tmp_path: Path, server: EmbeddedServer) -> Iterator[ContainedWorker]:
    with connect(server.url) as redis:
        redis.execute_command("ACL", "SETUSER", "moderator", "on", f">{PASSWORD}", *RIGHTS.split())
    worker = ContainedWorker(
        tmp_path / "worker",
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
    assert set(facts["writable"]) == container.WRITABLE
    elsewhere = set(facts["mounted_for_writing"]) - container.WRITABLE
    assert {place for place in elsewhere if not place.startswith(("/proc", "/dev/"))} == set()
    user, group = int(container.USER), int(container.GROUP)
    assert facts["ids"] == [user, user, group, group]
    assert user > 0
    assert set(facts["capabilities"]) == {"0" * 16}
    assert facts["no_new_privileges"] == "1"


@in_a_container
@pytest.mark.slow
def test_the_worker_judges_without_rights_on_a_root_that_cannot_be_written(
    worker: ContainedWorker, server: EmbeddedServer
) -> None:
    client = make_client(worker.settings["redis_url"])  # a producer with the worker's rights in Redis
    events = [
        client.submit(path="/uploads/cat.jpg"),
        client.submit(inline=(DEMO / "slideshow.gif").read_bytes()),
    ]
    events += client.submit_many([{"path": "/uploads/cat.jpg"}] * 2)
    for event in events:
        assert client.wait(event.id).decision is Decision.BLOCK, worker.log
    broken = client.submit(inline=b"no image")
    assert client.wait(broken.id).decision is Decision.ERROR
    (letter,) = client.dead_letters.newest(10)
    client.dead_letters.replay(letter)
    until(lambda: client.dead_letters.newest(10), what="a second death")
    assert next(iter(client.consume("readers", "one"))).event_id in {event.id for event in (*events, broken)}
    assert "2 decoding processes, system calls filtered" in worker.log
    assert os.stat(f"/proc/{worker.inside}").st_uid == int(container.USER)
    # All that was written is in the cache, and the decoders' shared memory is in no file system.
    written = worker.written()
    assert written
    assert {name for name in written if not name.startswith("var/cache/moderator/")} == set()
    for word in ("Read-only", "Permission denied", "cannot keep", "Traceback"):
        assert word not in worker.log
    os.kill(worker.inside, signal.SIGTERM)
    assert worker.wait() == 0, worker.log


@in_a_container
@pytest.mark.slow
def test_a_decoder_that_dies_is_replaced_in_the_container(
    worker: ContainedWorker, server: EmbeddedServer
) -> None:
    client = make_client(server.url)
    client.wait(client.submit(path="/uploads/cat.jpg").id)
    children = Path(f"/proc/{worker.inside}/task").glob("*/children")
    decoders = [int(pid) for file in children for pid in file.read_text().split()]
    assert len(decoders) == 2
    for pid in decoders:
        os.kill(pid, signal.SIGKILL)
    events = [client.submit(path="/uploads/cat.jpg") for _ in range(4)]
    assert {client.wait(event.id).decision for event in events} == {Decision.BLOCK}, worker.log
    until(lambda: sum(v for k, v in worker.metrics().items() if "decoder_restarts_total" in k) >= 1)
    os.kill(worker.inside, signal.SIGHUP)
    assert worker.wait() == 0, worker.log
    assert "Traceback" not in worker.log


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
