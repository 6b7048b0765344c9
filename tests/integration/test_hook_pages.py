"""The pages on hooks, each walked through as written: its commands run, and what they print is compared.

Real senders post: moto's S3, SNS and SQS, and a tus server that calls hooks as tusd does. All pages share a worker, in
place of the one that each starts. With WALK_ALONE=1 (`make walk`) each has its own, and prints how long it takes.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderator.queue.embedded_server import EmbeddedServer, free_port
from tests.support.aws import Aws, aws_server
from tests.support.service import DEMO, ForkedWorker, WorkerProcess, environment
from tests.support.tools import needs
from tests.support.tus import install_tus
from tests.support.walk import walk

ROOT = Path(__file__).parents[2]
PAGES = ("tusd", "s3", "minio", "gcs", "azure", "imgproxy")
ALONE = os.environ.get("WALK_ALONE") == "1"
#: Seconds that a page may take from an empty folder.
PAGE_SECONDS_MAX = 600


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_server() as aws:
        yield aws


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def programs(folder: Path) -> Path:
    """A folder for PATH: the command line as installed, and a server that takes tusd's options."""
    needs("curl", package="curl")
    bin = folder / "bin"
    bin.mkdir()
    tus = install_tus(folder / "tus")
    for name, command in {
        "moderator": f"exec {sys.executable} -m moderator",
        "python": f"exec {sys.executable}",
        "tusd": f"exec node {tus}",
    }.items():
        (bin / name).write_text(f'#!/bin/sh\n{command} "$@"\n')
        (bin / name).chmod(0o755)
    return bin


@pytest.fixture(scope="module")
def settings(aws: Aws, folder: Path, policies: Path, cache: Path) -> Iterator[dict[str, str]]:
    """What pages take from where they run: Redis, policies, and what a machine of one's own would allow."""
    with EmbeddedServer(folder / "server") as server:
        yield {
            "redis_url": server.url,
            "policies": str(policies),
            "cache": str(cache),
            "fetch_networks": "127.0.0.0/8,::1/128",
        }


@pytest.fixture(scope="module")
def worker(aws: Aws, folder: Path, settings: dict[str, str]) -> Iterator[WorkerProcess | None]:
    if ALONE:
        yield None
        return
    process = ForkedWorker(
        folder / "worker", **settings, **aws.settings, buckets="pictures", fetch_roots=str(folder)
    ).start()
    yield process
    assert process.stop() == 0, process.log


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_says(
    aws: Aws,
    folder: Path,
    programs: Path,
    settings: dict[str, str],
    worker: WorkerProcess | None,
    name: str,
) -> None:
    place = folder / name
    place.mkdir()
    for picture in ("cat.jpg", "coffee.jpg"):
        shutil.copy(DEMO / picture, place)
    gateway, other = free_port(), free_port()
    metrics = worker.port if worker else free_port()
    replace = {"localhost:8080": f"localhost:{gateway}", "localhost:9464": f"localhost:{metrics}"}
    replace |= {"localhost:1080": f"localhost:{other}", "-port 1080": f"-port {other}"}
    replace |= {"http.server 1080": f"http.server {other}"}
    if worker:
        replace["$ moderator worker > worker.log 2>&1 &\n"] = ""
    ports = {"gateway_port": str(gateway), "metrics_port": str(metrics)}
    variables = environment(**settings, **ports)
    variables |= {
        "PATH": f"{programs}{os.pathsep}{variables['PATH']}",
        "PYTHONPATH": str(ROOT),
        "AWS_ENDPOINT_URL": aws.endpoint,
    }
    before = time.monotonic()

    steps = walk((ROOT / "docs" / "hooks" / f"{name}.md").read_text(), place, variables, replace)

    seconds = time.monotonic() - before
    logs = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in place.glob("*.log"))
    for step in steps:
        assert step.as_written, f"{step.command}\nprints:\n{step.printed}\nnot:\n{step.expected}\n{logs}"
    assert len(steps) > 3
    if ALONE:
        print(f"\n{name}: {seconds:.1f} s")
    assert seconds < PAGE_SECONDS_MAX
