"""`moderator demo`: run the whole service for a minute, on photographs that ship with it or on the user's own."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table

from moderator.cli.output import VerdictRows, console, errors, print_json
from moderator.client import Client
from moderator.errors import ImageNotFound, WorkerFailed
from moderator.image_paths import expand_images
from moderator.queue.embedded_server import EmbeddedServer, free_port
from moderator.settings import load_settings

PHOTOGRAPHS = Path(__file__).parent.parent / "data" / "demo"
#: A cold start reads the weights from disk and compiles the policies.
WORKER_START_TIMEOUT_SECONDS = 180.0
WORKER_STOP_TIMEOUT_SECONDS = 30.0
#: Each must leave nothing running and nothing on disk. Python raises KeyboardInterrupt at SIGINT by itself.
STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)


def demo(
    images: Annotated[
        Path,
        typer.Option(
            help="Folder of images. Default: photographs that come with the package.", show_default=False
        ),
    ] = PHOTOGRAPHS,
    policy: Annotated[str | None, typer.Option(help="NAME. Default: MODERATOR_DEFAULT_POLICY.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One verdict per line, as JSON.")] = False,
) -> None:
    """Run the whole service on a folder of images, then stop it.

    Starts an embedded Redis-compatible server and a worker, submits each image as an event, waits for the verdicts,
    and prints them with throughput and latency from the worker's metrics. Nothing is left running or on disk.

    Examples:

      moderator demo

      moderator demo --images ~/Pictures --policy family-safe
    """
    if not images.is_dir():
        raise ImageNotFound(f"{images} is no folder; name one with images with --images")
    files = expand_images([str(images)])
    policy = policy or load_settings().default_policy
    for number in STOPPING_SIGNALS:
        if number != signal.SIGINT and signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    rows = VerdictRows()
    with (
        TemporaryDirectory(prefix="moderator-demo-") as folder,
        EmbeddedServer(Path(folder)) as server,
        _worker(server.url, images, Path(folder)) as metrics_port,
    ):
        client = Client(server.url)
        started = time.perf_counter()
        events = [client.submit(path=Path(file).resolve(), policy=policy) for file in files]
        for file, event in zip(files, events, strict=True):
            verdict = client.wait(event.id)
            if json:
                print_json(verdict)
            else:
                rows.add_verdict(Path(file).name, verdict)
        seconds = time.perf_counter() - started
        page = _get(f"http://127.0.0.1:{metrics_port}/metrics")
    if not json:
        console.print()
        console.print(_figures(page, seconds))


@contextmanager
def _worker(redis_url: str, images: Path, folder: Path) -> Iterator[int]:
    """Run a worker process until the end of the block; yield the port of its metrics."""
    port = free_port()
    log = folder / "worker.log"
    environment = {
        **os.environ,
        "MODERATOR_REDIS_URL": redis_url,
        "MODERATOR_METRICS_HOST": "127.0.0.1",
        "MODERATOR_METRICS_PORT": str(port),
        "MODERATOR_FETCH_ROOTS": str(images.resolve()),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moderator", "worker"],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches us; we stop the worker
        )
    try:
        with errors.status("starting a server and a worker, loading the model"):
            _wait_until_ready(process, port, log)
        yield port
    finally:
        try:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(WORKER_STOP_TIMEOUT_SECONDS)
        finally:  # also if a second signal interrupts the wait
            for number in STOPPING_SIGNALS:  # one more would leave behind what takes a moment to clean up
                signal.signal(number, signal.SIG_IGN)
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + WORKER_START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise WorkerFailed(f"the worker ended with {process.returncode}; its log:\n{log.read_text()}")
        try:
            _get(f"http://127.0.0.1:{port}/ready")
            return
        except OSError:
            time.sleep(0.1)
    raise WorkerFailed(
        f"the worker was not ready after {WORKER_START_TIMEOUT_SECONDS:g} s; its log:\n{log.read_text()}"
    )


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (our own worker's address)
        body: bytes = answer.read()
    return body.decode()


def _figures(page: str, seconds: float) -> Table:
    """Return a table of throughput and latency, from the worker's metrics page."""
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    buckets: dict[float, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            stage = sample.labels.get("stage", family.name)
            if sample.name.endswith("_sum"):
                sums[stage] = sample.value
            elif sample.name.endswith("_count"):
                counts[stage] = sample.value
            elif sample.name == "moderation_duration_seconds_bucket":
                buckets[float(sample.labels["le"])] = sample.value
    events = counts.get("moderation_duration_seconds", 0)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("throughput", f"{events / seconds:.1f} images/s ({events:.0f} in {seconds:.2f} s)")
    table.add_row(
        "latency",
        f"median {quantile(buckets, 0.5) * 1000:.0f} ms, 95 % within {quantile(buckets, 0.95) * 1000:.0f} ms",
    )
    stages = [
        f"{stage} {1000 * sums[stage] / counts[stage]:.1f}"
        for stage in ("queue", "fetch", "decode", "batch_wait", "embed", "score", "publish")
        if counts.get(stage)
    ]
    table.add_row("mean ms", ", ".join(stages))
    if counts.get("moderation_batch_size"):
        mean = sums["moderation_batch_size"] / counts["moderation_batch_size"]
        table.add_row("mean batch", f"{mean:.1f} images")
    return table


def quantile(buckets: dict[float, float], share: float) -> float:
    """Estimate a quantile from cumulative buckets (upper bound -> count), as Prometheus's histogram_quantile does.

    Linear within a bucket; the largest finite bound if the quantile lies beyond it.
    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] == 0:
        return 0.0
    rank = share * buckets[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (rank - below) / max(buckets[bound] - below, 1e-12)
        lower, below = bound, buckets[bound]
    return lower
