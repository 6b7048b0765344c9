"""What integration tests share: a server, a worker process, policies, images, HTTP servers."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer
from moderator.settings import Settings
from tests.support.http_server import HttpServer
from tests.support.postgres import PostgresServer
from tests.support.service import (
    DEMO,
    OLD_SECRET,
    SECRET,
    SETTINGS,
    ForkedWorker,
    WorkerProcess,
    copy_policies,
    make_client,
    small_jpeg,
)
from tests.support.small_model import small_model

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_policies(tmp_path_factory.mktemp("shared") / "policies")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that workers may read, with the demo's photographs in it."""
    folder = tmp_path_factory.mktemp("images")
    for file in DEMO.iterdir():
        if file.suffix != ".md":
            shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="session")
def small_images(images: Path) -> list[Path]:
    """Pictures that cost next to nothing to decode."""
    return [small_jpeg(images / f"small-{n}.jpg", shade=25 * n) for n in range(10)]


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server of the module's own, without a worker: for tests that look at events that wait."""
    with EmbeddedServer(tmp_path_factory.mktemp("module-server")) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server of the test's own, to be stopped and filled with odd things."""
    with EmbeddedServer(tmp_path / "server") as server:
        yield server


@pytest.fixture(scope="session")
def worker(
    shared_server: EmbeddedServer,
    policies: Path,
    images: Path,
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[WorkerProcess]:
    """The worker that most tests share. It must live through all that they send, and end with 0."""
    process = ForkedWorker(
        tmp_path_factory.mktemp("worker"),
        redis_url=shared_server.url,
        policies=str(policies),
        fetch_roots=str(images),
        fetch_networks="127.0.0.0/8",
        webhook_secret=f"{SECRET} {OLD_SECRET}",
        webhook_attempts="3",
        cache=str(cache),
        **SETTINGS,
    ).start()
    yield process
    assert process.poll() is None, f"the worker died:\n{process.log}"
    assert process.stop() == 0, process.log


@pytest.fixture
def client(shared_server: EmbeddedServer, worker: WorkerProcess) -> Client:
    """A client of the shared server, which the shared worker serves."""
    return make_client(shared_server.url)


@pytest.fixture(name="small_model")
def _small_model(cache: Path) -> dict[str, str]:
    """Settings of a worker of which a test needs many verdicts, whatever they are."""
    return small_model(cache)


@pytest.fixture
def start_worker(
    request: pytest.FixtureRequest, tmp_path: Path, policies: Path, images: Path, cache: Path
) -> Iterator[StartWorker]:
    """Start workers of the test's own: `start_worker(url, wait=True, **settings)`. Killed at the end if need be.

    They are forked, except in tests with the mark `real_start`.
    """
    started: list[WorkerProcess] = []
    kind = WorkerProcess if request.node.get_closest_marker("real_start") else ForkedWorker

    def start(url: str, *, wait: bool = True, **settings: str) -> WorkerProcess:
        process = kind(
            tmp_path / f"worker-{len(started)}",
            **{
                "redis_url": url,
                "policies": str(policies),
                "fetch_roots": str(images),
                "cache": str(cache),
                **SETTINGS,
                **settings,
            },
        )
        started.append(process)
        return process.start(wait=wait)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def _empty_archive(url: str) -> None:
    from moderator.archive.archive_store import open_archive  # loads libraries that few tests need
    from moderator.archive.verdict_filter import VerdictFilter

    archive = open_archive(Settings(archive_url=url))
    assert archive.list_verdicts(VerdictFilter(), None, 1).items == []
    archive.close()


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty archive: to copy it is quicker than to make its tables."""
    file = tmp_path_factory.mktemp("sqlite") / "empty.sqlite3"
    _empty_archive(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def postgres_database(postgres: PostgresServer) -> str:
    url = postgres.new_database()
    _empty_archive(url)
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def archive_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """An empty archive with its tables, on each kind of database."""
    if request.param == "sqlite":
        (tmp_path / "archive").mkdir()
        copied = shutil.copy(
            request.getfixturevalue("sqlite_file"), tmp_path / "archive" / "verdicts.sqlite3"
        )
        return Settings(archive_url=f"sqlite:///{copied}")
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.new_database(request.getfixturevalue("postgres_database"))
    return Settings(archive_url=url, archive_segments=tmp_path / "segments")


@pytest.fixture
def http() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the end of the worker's log where a test failed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    process = getattr(item, "funcargs", {}).get("worker")
    if report.when == "call" and report.failed and isinstance(process, WorkerProcess):
        report.sections.append(("worker log", process.log[-6000:]))
