import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.dataset
import pytest

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer
from tests.support.http_server import Answer, HttpServer
from tests.support.service import WorkerProcess, environment, run_cli, small_jpeg, until

FILES = 120


@pytest.fixture(scope="module")
def folder(images: Path) -> Path:
    """Distinct small files that workers may read, and one that is no image."""
    folder = images / "backfill"
    folder.mkdir()
    for n in range(FILES):
        small_jpeg(folder / f"{n}.jpg", shade=n)
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def start(tmp_path: Path, url: str, *words: str, **settings: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "moderator", "backfill", *words],
        env=environment(redis_url=url, **settings),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def published(client: Client) -> Counter[str]:
    """How often each event of a backfill was published."""
    entries = client.verdicts.tail("0", follow=False)
    return Counter(verdict.event_id for _, verdict in entries if verdict.source == "backfill")


def rows(output: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pyarrow.dataset.dataset(output).to_table().to_pylist()
    return found


def test_each_file_has_one_row_whatever_kills_the_command(
    shared_server: EmbeddedServer, client: Client, folder: Path, images: Path, tmp_path: Path
) -> None:
    words = [str(folder), "-o", "results", "--bulk", "8", "--window", "24", "--rate", "60"]
    for kill, least in ((signal.SIGKILL, 20), (signal.SIGKILL, 50), (signal.SIGINT, 80)):
        running = start(tmp_path, shared_server.url, *words, fetch_roots=str(images))
        until(lambda least=least: len(published(client)) >= least, what="enough verdicts")
        running.send_signal(kill)
        output, _ = running.communicate(timeout=30)
    assert running.returncode == 130
    assert f"images are left; resume with: moderator backfill {folder} -o results --rate 60.0" in output
    done = run_cli(
        "backfill", *words, "--json", cwd=tmp_path, redis_url=shared_server.url, fetch_roots=str(images)
    )
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["images"], summary["waiting"], summary["failures"]) == (FILES + 1, 0, {"NotAnImage": 1})
    found = rows(tmp_path / "results")
    assert Counter(row["path"] for row in found) == Counter(map(str, folder.iterdir()))
    assert {*published(client).values()} == {1}, "no image was judged twice"
    assert {row["id"] for row in found} == {*published(client)}
    (error,) = (row for row in found if row["error_type"])
    assert error["path"] == str(folder / "broken.jpg")

    shutil.copy(folder / "0.jpg", folder / "broken.jpg")  # repaired
    again = run_cli(
        "backfill",
        *words,
        "--retry",
        "all",
        cwd=tmp_path,
        redis_url=shared_server.url,
        fetch_roots=str(images),
    )
    assert again.returncode == 0, again.stderr
    assert "1 of them in this run" in again.stdout
    assert Counter(row["path"] for row in rows(tmp_path / "results")) == Counter(map(str, folder.iterdir()))


def test_a_table_of_urls(
    shared_server: EmbeddedServer, worker: WorkerProcess, http: HttpServer, tmp_path: Path
) -> None:
    http.answers["/a.jpg"] = [Answer(200, small_jpeg(tmp_path / "a.jpg").read_bytes())]
    urls = [http.url("/a.jpg"), http.url("/missing.jpg"), str(tmp_path / "a.jpg")]
    (tmp_path / "urls.csv").write_text("\n".join(["link", *urls]))
    done = run_cli(
        "backfill",
        "urls.csv",
        "--column",
        "link",
        "-o",
        "results",
        "--policy",
        "classic",
        cwd=tmp_path,
        redis_url=shared_server.url,
    )
    assert done.returncode == 3, done.stderr
    found = {str(row["path"]): (row["policy"], row["error_type"]) for row in rows(tmp_path / "results")}
    expected = [("classic", None), ("classic", "ImageNotFound"), (None, "EventInvalid")]
    assert found == dict(zip(urls, expected, strict=True))


def test_without_a_worker_that_knows_the_policy_nothing_is_sent(
    shared_server: EmbeddedServer, client: Client, folder: Path, tmp_path: Path
) -> None:
    before = published(client).total()
    running = start(tmp_path, shared_server.url, str(folder), "-o", "results", "--policy", "no-such-policy")
    assert running.stderr is not None
    assert "no running worker knows the policy no-such-policy" in running.stderr.readline()
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 143
    assert published(client).total() == before
    assert client.ledger.stats().pending == 0
    assert os.listdir(tmp_path / "results") == ["_state.sqlite"]
