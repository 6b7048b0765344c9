"""Programs in Node.js: a producer with celery-node, and the examples in `examples/node/`."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer, free_port
from moderator.verdicts import Decision
from tests.support.gateway_door import gateway_door
from tests.support.http_server import Answer, HttpServer
from tests.support.npm import install_packages
from tests.support.service import SECRET, until
from tests.support.webhook_deliveries import deliveries

EXAMPLES = Path(__file__).parents[2] / "examples" / "node"
PRODUCER = Path(__file__).parent / "node" / "producer.js"

Serve = Callable[..., str]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all programs, and with the packages that they need."""
    folder = tmp_path_factory.mktemp("node")
    for file in (PRODUCER, *EXAMPLES.iterdir()):
        if file.is_file():
            shutil.copy(file, folder)
    install_packages(folder)
    return folder


@pytest.fixture
def serve(programs: Path) -> Iterator[Serve]:
    """Run an example that is a server, with these variables; returns its address."""
    started: list[subprocess.Popen[bytes]] = []

    def serve(program: str, **variables: str) -> str:
        port = free_port()
        process = subprocess.Popen(
            ["node", programs / program],
            cwd=programs,
            env={**os.environ, "PORT": str(port), **variables},
            stdout=subprocess.PIPE,
        )
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        until(lambda: process.poll() is not None or answers(url), 20, "an answer")
        assert process.poll() is None, process.returncode
        return url

    yield serve
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def answers(url: str) -> bool:
    try:
        return bool(post(url, b""))
    except OSError:
        return False


def post(url: str, body: bytes, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.slow
@pytest.mark.parametrize("queue", ["moderation", "moderation.bulk"])
def test_events_from_node(
    programs: Path, client: Client, shared_server: EmbeddedServer, small_images: list[Path], queue: str
) -> None:
    name = uuid4().hex
    paths = [str(file) for file in small_images[:5]]

    command = ["node", programs / PRODUCER.name, shared_server.url, queue, name, *paths]
    subprocess.run(command, check=True, timeout=30)

    verdicts = [client.wait(f"{name}-{n}", source="node") for n in range(5)]
    assert all(v.decision is not Decision.ERROR for v in verdicts)
    assert [v.metadata for v in verdicts] == [{"name": "é", "n": n} for n in range(5)]


@pytest.mark.slow
def test_a_celery_client_finds_the_verdict(
    programs: Path, client: Client, shared_server: EmbeddedServer, images: Path
) -> None:
    command = ["node", programs / "celery_producer.js", shared_server.url, str(images / "cat.jpg")]
    run = subprocess.run(command, check=True, timeout=60, capture_output=True)
    verdict = json.loads(run.stdout)
    assert (verdict["source"], verdict["decision"]) == ("node", "block")
    assert (
        client.wait(verdict["event_id"], source="node").categories["live-animals"].decision is Decision.BLOCK
    )


@pytest.mark.slow
def test_a_redis_client_is_enough(
    programs: Path, client: Client, shared_server: EmbeddedServer, http: HttpServer, images: Path
) -> None:
    http.answers = {"/cat.jpg": [Answer(200, (images / "cat.jpg").read_bytes())]}
    name = f"upload:{uuid4().hex}"
    command = ["node", programs / "redis_producer.js", shared_server.url, name, http.url("/cat.jpg")]
    subprocess.run(command, check=True, timeout=30)
    assert client.wait(name, source="redis").decision is Decision.BLOCK


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(200, b'{"decision": "allow"}'), 201),
        (Answer(200, b'{"decision": "review"}'), 201),
        (Answer(200, b'{"decision": "block"}'), 422),
        (Answer(200, b'{"decision": "error"}'), 422),
        (Answer(202, b"{}"), 503),
        (Answer(401, b"{}"), 503),
    ],
)
def test_an_upload_handler_asks_before_it_keeps(
    serve: Serve, http: HttpServer, answer: Answer, status: int
) -> None:
    http.answers = {"/v1/events?wait=20": [answer]}
    url = serve("upload.mjs", GATEWAY=http.url(""), API_KEY="mk_key")
    assert post(url, b"picture")[0] == status
    (*_, asked) = http.requests
    assert asked.headers["authorization"] == "Bearer mk_key"
    assert json.loads(asked.body)["image"] == {"inline": "cGljdHVyZQ=="}


@pytest.mark.slow
def test_an_upload_handler_gets_verdicts_from_a_gateway(
    serve: Serve, client: Client, shared_server: EmbeddedServer, images: Path, tmp_path: Path
) -> None:
    with gateway_door(shared_server.url, tmp_path) as door:
        url = serve("upload.mjs", GATEWAY=door.url, API_KEY=door.key)
        assert post(url, (images / "coffee.jpg").read_bytes()) == (201, "allow")
        assert post(url, (images / "cat.jpg").read_bytes()) == (422, "block")
        assert post(url, b"no picture") == (422, "error")


def test_a_receiver_in_node(serve: Serve) -> None:
    url = serve("webhook_receiver.mjs", WEBHOOK_SECRET=SECRET)
    found = [post(url, body, **headers) for headers, body, _ in deliveries()]
    assert [status for status, _ in found] == [status for _, _, status in deliveries()]
    assert [text for status, text in found if status == 200] == ["received", *["received before"] * 2]
