"""The examples in `examples/`, each run as its page says, against a real worker."""

import importlib
import json
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from werkzeug.serving import make_server

from moderator.client import Client
from moderator.gateway.api_keys import Scope
from moderator.queue import keys
from moderator.queue.embedded_server import EmbeddedServer, free_port
from moderator.settings import load_settings
from moderator.verdicts import Decision, Verdict
from tests.support.gateway_door import gateway_door
from tests.support.service import OLD_SECRET, SECRET, WorkerProcess, client_alone, environment, until
from tests.support.webhook_deliveries import deliveries

EXAMPLES = Path(__file__).parents[2] / "examples"
BLOCKED, ALLOWED = "cat.jpg", "coffee.jpg"


@pytest.fixture
def load(
    shared_server: EmbeddedServer, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Import an example, with clients that reach the shared worker."""
    monkeypatch.setenv("MODERATOR_REDIS_URL", shared_server.url)
    load_settings.cache_clear()

    def load(name: str) -> ModuleType:
        module = importlib.import_module(f"examples.{name}")
        return importlib.reload(module)

    yield load
    load_settings.cache_clear()


@pytest.fixture
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATOR_REDIS_URL", "redis://127.0.0.1:1")
    load_settings.cache_clear()


# --- Flask


def test_flask(load: Any, images: Path) -> None:
    app = load("flask_upload").app
    answers = {}
    for name in (BLOCKED, ALLOWED):
        with (images / name).open("rb") as file:
            answers[name] = app.test_client().post("/photos", data={"file": (file, name)})
    assert answers[ALLOWED].status_code == 201
    assert answers[ALLOWED].json == {"file": ALLOWED, "held": False}
    assert answers[BLOCKED].status_code == 422
    assert b"live-animals" in answers[BLOCKED].data


def test_flask_without_a_service(load: Any, nobody_answers: None, images: Path) -> None:
    app = load("flask_upload").app
    with (images / ALLOWED).open("rb") as file:
        assert app.test_client().post("/photos", data={"file": (file, "x.jpg")}).status_code == 503


# --- FastAPI


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an app from a thread; yields its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=free_port(), log_level="warning"))
    thread = Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, 10, "the server")
        yield f"http://127.0.0.1:{server.config.port}"
    finally:
        server.should_exit = True
        thread.join(10)


def upload(url: str, file: Path) -> tuple[int, dict[str, Any]]:
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n\r\n'.encode()
    headers = {"content-type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(url, head + file.read_bytes() + b"\r\n--x--\r\n", headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_fastapi(load: Any, images: Path, tmp_path: Path) -> None:
    with served(load("fastapi_upload").app) as url:
        assert upload(f"{url}/photos", images / ALLOWED) == (201, {"kept": ALLOWED})
        status, problem = upload(f"{url}/photos", images / BLOCKED)
        assert (status, problem) == (422, {"detail": "the picture is not allowed: live-animals"})
        empty = tmp_path / "empty.jpg"
        empty.touch()
        assert upload(f"{url}/photos", empty)[0] == 422
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("examples.fastapi_upload.MAX_BYTES", 1000)
            assert upload(f"{url}/photos", images / ALLOWED)[0] == 413


def test_fastapi_without_a_service(load: Any, nobody_answers: None, images: Path) -> None:
    with served(load("fastapi_upload").app) as url:
        assert upload(f"{url}/photos", images / ALLOWED)[0] == 503


# --- Django


def test_django(load: Any, images: Path, client: Client) -> None:
    from django.conf import settings

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        MEDIA_ROOT=str(images),
        USE_TZ=True,
    )
    import django

    django.setup()
    from django.core.exceptions import ValidationError
    from django.core.files.base import ContentFile
    from django.db import connection, models
    from django.db.models.signals import post_save

    example = load("django_upload")

    class Photo(models.Model):
        image = models.ImageField(validators=[example.validate_image])

        class Meta:
            app_label = "shop"

    post_save.connect(example.submit_saved, sender=Photo)
    with connection.schema_editor() as editor:
        editor.create_model(Photo)

    refused = Photo(image=ContentFile((images / BLOCKED).read_bytes(), "upload.jpg"))
    with pytest.raises(ValidationError, match="not allowed") as caught:
        refused.full_clean()
    assert [error.code for error in caught.value.error_dict["image"]] == ["live-animals"]

    empty = Photo(image=ContentFile(b"", "upload.jpg"))
    with pytest.raises(ValidationError, match="no picture"):
        empty.full_clean()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example, "MAX_BYTES", 1000)
        with pytest.raises(ValidationError, match="too large"):
            refused.full_clean()

    kept = Photo(image=ContentFile((images / ALLOWED).read_bytes(), "upload.jpg"))
    kept.full_clean()
    kept.save()
    verdict = client.wait(f"photo-{kept.pk}", source="django", timeout=30)
    assert verdict.decision is Decision.ALLOW

    example.client().close()
    example.client.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODERATOR_REDIS_URL", "redis://127.0.0.1:1")
        load_settings.cache_clear()
        with pytest.raises(ValidationError, match="cannot be checked"):
            kept.full_clean()


# --- readers of the stream


VERDICTS = 10_000


def publish(client: Client, numbers: range) -> None:
    with client.redis.pipeline(transaction=False) as pipe:
        for n in numbers:
            verdict = Verdict(event_id=str(n), source="s", decision=Decision.ALLOW, is_safe=True)
            pipe.xadd(keys.VERDICTS, {"verdict": verdict.model_dump_json()})
        pipe.execute()


def kept(database: Path) -> int:
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        try:
            return int(connection.execute("SELECT MAX(rowid) FROM verdicts").fetchone()[0] or 0)
        except sqlite3.OperationalError:  # no table yet
            return 0


def test_a_reader_that_another_continues_misses_and_repeats_nothing(
    shared_server: EmbeddedServer, tmp_path: Path
) -> None:
    database = tmp_path / "verdicts.sqlite3"
    command = [sys.executable, str(EXAMPLES / "verdict_reader.py"), str(database)]
    url = f"{shared_server.url.removesuffix('/0')}/9"
    with client_alone(shared_server, "9") as client, gateway_door(url, tmp_path, Scope.READ) as door:
        publish(client, range(VERDICTS // 2))
        redis, http = [url], [door.url, door.key]
        for reader_of, killed_at in ((redis, 1), (http, 2_000), (redis, 4_500), (http, VERDICTS)):
            if killed_at == VERDICTS:  # while others come
                publish(client, range(VERDICTS // 2, VERDICTS))
            reader = subprocess.Popen([*command, *reader_of], env=environment(redis_url=url), cwd=tmp_path)
            try:
                until(lambda: kept(database) >= killed_at, 60, f"{killed_at} verdicts")  # noqa: B023
            finally:
                reader.send_signal(signal.SIGKILL)
                reader.wait()
    with closing(sqlite3.connect(database)) as connection:
        ids = [int(id) for (id,) in connection.execute("SELECT id FROM verdicts ORDER BY rowid")]
    missing, twice = set(range(VERDICTS)) - set(ids), [n for n, times in Counter(ids).items() if times > 1]
    print(
        f"\n{len(ids)} verdicts, 4 kills, over Redis and HTTP in turn: {len(missing)} missing, {len(twice)} twice"
    )
    assert (len(missing), len(twice)) == (0, 0)
    assert ids == sorted(ids)


# --- receivers of webhooks


def test_a_receiver_in_python(load: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("DATABASE", str(tmp_path / "received.sqlite3"))
    app = load("webhook_receiver").app.test_client()
    for headers, body, status in deliveries():
        assert app.post("/verdicts", headers=headers, data=body).status_code == status, (headers, body)
    assert received(tmp_path / "received.sqlite3") == [("msg-1", "shop", "a", "block")]


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET], ids=["new secret", "old secret"])
def test_what_the_service_sends_is_received(
    load: Any,
    client: Client,
    small_images: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    secret: str,
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    monkeypatch.setenv("DATABASE", str(tmp_path / "received.sqlite3"))
    server = make_server("127.0.0.1", 0, load("webhook_receiver").app)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        event = client.submit(path=small_images[0], webhook=f"http://127.0.0.1:{server.server_port}/verdicts")
        verdict = client.wait(event)
        rows = until(lambda: received(tmp_path / "received.sqlite3"), 20, "the delivery")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert [row[1:] for row in rows] == [("moderator", event.id, verdict.decision)]


def received(database: Path) -> list[tuple[str, ...]]:
    if not database.exists():
        return []
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        try:
            return connection.execute("SELECT * FROM received").fetchall()
        except sqlite3.OperationalError:  # no table yet
            return []
