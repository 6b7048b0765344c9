import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.dataset
import pytest

from moderator.queue.embedded_server import EmbeddedServer
from tests.support.service import DEMO, SETTINGS, WorkerProcess, environment, run_cli, small_jpeg, until


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's photographs, some plain pictures, and a file that is no image."""
    folder = tmp_path_factory.mktemp("images")
    for file in DEMO.iterdir():
        if file.suffix != ".md":
            shutil.copy(file, folder)
    for n in range(300):
        small_jpeg(folder / f"plain-{n}.jpg", shade=n)
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"cache": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def queued(
    images: Path, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, object]]:
    """The rows that the queue gives, by path."""
    folder = tmp_path_factory.mktemp("queue")
    with EmbeddedServer(folder / "server") as server:
        common = {**settings, "redis_url": server.url, "fetch_roots": str(images)}
        worker = WorkerProcess(folder / "worker", **common, **SETTINGS).start()
        done = run_cli("backfill", str(images), "-o", "results", cwd=folder, **common)
        assert worker.stop() == 0
    assert done.returncode == 3, done.stderr
    return rows(folder / "results")


def rows(output: Path) -> dict[str, dict[str, object]]:
    found = pyarrow.dataset.dataset(output).to_table().to_pylist()
    assert Counter(row["path"] for row in found).most_common(1)[0][1] == 1
    return {row["path"]: row for row in found}


def test_ray_gives_the_verdicts_of_the_queue_even_if_it_is_killed(
    images: Path, settings: dict[str, str], queued: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    words = ["backfill", str(images), "-o", "results", "--engine", "ray"]
    running = subprocess.Popen(
        [sys.executable, "-m", "moderator", *words],
        env=environment(**settings),
        cwd=tmp_path,
        start_new_session=True,
    )
    log = tmp_path / "results" / "_state.sqlite-wal"
    until(lambda: log.exists() and log.stat().st_size > 0, 60.0)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    done = run_cli(*words, cwd=tmp_path, timeout=280, **settings)
    assert done.returncode == 3, done.stderr
    judged = rows(tmp_path / "results")
    assert judged.keys() == queued.keys() == {str(file) for file in images.iterdir()}
    for path, row in judged.items():
        expected = queued[path]
        for name in ("decision", "category", "policy_digest", "model_revision", "sha256", "error_type"):
            assert row[name] == expected[name], (path, name)
        assert row["unsafe_score"] == pytest.approx(expected["unsafe_score"], abs=1e-6), path
        assert dict(row["scores"]) == pytest.approx(dict(expected["scores"]), abs=1e-6), path  # type: ignore[call-overload]
