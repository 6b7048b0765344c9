"""A producer in another language: Node.js with celery-node."""

import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer
from moderator.verdicts import Decision
from tests.support.tools import needs

#: What npm says where it has no network.
OFFLINE = ("EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ENOTFOUND", "ETIMEDOUT")
PROGRAM = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def producer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("node", package="nodejs")
    needs("npm", package="npm")
    folder = tmp_path_factory.mktemp("node")
    for file in ("package.json", "package-lock.json", "producer.js"):
        shutil.copy(PROGRAM / file, folder)
    installed = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if any(code in installed.stderr for code in OFFLINE):
        pytest.skip(f"the registry of npm cannot be reached: {installed.stderr[-300:]}")
    assert installed.returncode == 0, installed.stderr
    return folder / "producer.js"


@pytest.mark.slow
@pytest.mark.parametrize("queue", ["moderation", "moderation.bulk"])
def test_events_from_node(
    producer: Path, client: Client, shared_server: EmbeddedServer, small_images: list[Path], queue: str
) -> None:
    name = uuid4().hex
    paths = [str(file) for file in small_images[:5]]

    subprocess.run(["node", producer, shared_server.url, queue, name, *paths], check=True, timeout=30)

    verdicts = [client.wait(f"{name}-{n}", source="node") for n in range(5)]
    assert all(v.decision is not Decision.ERROR for v in verdicts)
    assert [v.metadata for v in verdicts] == [{"name": "é", "n": n} for n in range(5)]
