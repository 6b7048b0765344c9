"""Write a data folder with events in every state, for the test that starts a later version on it.

    python -m tests.upgrade.write tests/upgrade/data/NAME

Run it with the code of the version to upgrade *from*. The folder then holds the server's append-only file, a client's
spool, and `manifest.json`: what is in there, and what must become of it. It names no path of this machine: images are
inline, or at an address of the loopback network that the test serves. What would expire is written to last for decades.
"""

import json
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from moderator.client import Client
from moderator.events import Priority
from moderator.queue import keys
from moderator.queue.embedded_server import EmbeddedServer
from moderator.queue.ledger import Answer as Answered
from moderator.queue.message import encode_message
from moderator.verdicts import Decision, Verdict
from tests.support.http_server import Answer, HttpServer
from tests.support.service import SECRET, WorkerProcess, copy_policies, make_client, until

#: Where images and webhooks are. On this address of the loopback network nobody else listens.
HOST, PORT = "127.72.5.20", 8377
#: Of the worker that writes and of the one that takes over. Retries come late, so that they still wait when it ends.
SETTINGS = {
    "default_policy": "classic",
    "dtype": "float32",
    "embedding_cache": "100",
    "fetch_networks": "127.0.0.0/8",
    "webhook_secret": SECRET,
}
WRITER_SETTINGS = {**SETTINGS, "verdict_ttl": "1e9", "retry_delay": "600", "redeliver_after": "4"}
GROUP, READER = "archive", "reader-1"


def picture(shade: int) -> bytes:
    """A small plain JPEG; another for each shade."""
    file = BytesIO()
    Image.new("RGB", (64, 64), (shade % 256, (shade * 7) % 256, (shade * 13) % 256)).save(file, "JPEG")
    return file.getvalue()


def url(path: str) -> str:
    return f"http://{HOST}:{PORT}{path}"


@contextmanager
def receiver(**answers: list[Answer]) -> Iterator[HttpServer]:
    """Serve images and webhooks under their names."""
    with HttpServer({f"/{name}": given for name, given in answers.items()}, host=HOST, port=PORT) as server:
        yield server


def write(folder: Path) -> None:
    """Write the data folder."""
    with TemporaryDirectory() as name:
        work = Path(name)
        spool = work / "spool"
        server = EmbeddedServer(work / "redis").start()
        client = make_client(server.url, spool=str(spool))
        manifest = {
            "commit": _commit(),
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **_fill(client, server, work),
        }
        _compact(client)
        server.stop()
        manifest["spooled"] = [
            client.submit(inline=picture(90), id="spooled").key,
            *(one.key for one in client.submit_many([{"inline": _base64(picture(91))}], id="spooled-bulk")),
        ]
        client.close()

        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(work / "redis" / "appendonlydir", folder / "appendonlydir")
        (folder / "spool").mkdir()
        shutil.copy(spool / "spool.sqlite3", folder / "spool")
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def _fill(client: Client, server: EmbeddedServer, work: Path) -> dict[str, object]:
    """Bring about every state; return the keys of the events by what must become of them."""
    worker = WorkerProcess(
        work / "worker",
        redis_url=server.url,
        policies=str(copy_policies(work / "policies")),
        cache=str(work / "cache"),
        **WRITER_SETTINGS,
    ).start()
    hangs = [Answer(200, delay=120.0)]
    with receiver(
        slow=hangs,
        broken=[Answer(500)],
        missing=[Answer(404)],
        delivered=[Answer(204)],
        redirects=[Answer(302)],
        gone=[Answer(410)],
        fails=[Answer(500)],
        hangs=hangs,
    ) as server_of_images:

        def judged(id: str, shade: int, hook: str | None = None) -> str:
            webhook = None if hook is None else url(f"/{hook}")
            event = client.submit(inline=picture(shade), id=id, webhook=webhook)
            client.wait(event.id)
            if hook is not None:
                until(lambda: server_of_images.asked(f"/{hook}"), what=hook)
            return event.key

        answered = [judged("answered", 1), judged("answered-webhook", 2, "delivered")]
        images = [{"inline": _base64(picture(shade))} for shade in (3, 4)]
        bulk = client.submit_many(images, id="answered-bulk")
        answered += [one.key for one in bulk]
        for one in bulk:
            client.wait(one.id, source=one.source)
        hooks = {
            "redirects": judged("webhook-dead", 5, "redirects"),
            "gone": judged("webhook-gone", 6, "gone"),
            "fails": judged("webhook-retrying", 7, "fails"),
            "hangs": judged("webhook-leased", 8, "hangs"),
        }
        dead = client.submit(url=url("/missing"), id="dead")
        client.wait(dead.id)
        retrying = client.submit(url=url("/broken"), id="retrying")
        until(lambda: client.redis.hget(keys.RECORD_PREFIX + retrying.key, "state") == b"waiting")
        in_flight = [
            client.submit(url=url("/slow"), id="in-flight"),
            client.submit(url=url("/slow"), id="in-flight-older-names"),
            *client.submit_many([{"url": url("/slow")}] * 2, id="in-flight-bulk"),
        ]
        until(lambda: len(server_of_images.asked("/slow")) == len(in_flight), what="all in flight")
        worker.kill()
        ids = {
            hook: server_of_images.asked(f"/{hook}")[0].headers["webhook-id"] for hook in ("fails", "hangs")
        }

    _move_to_older_names(client, in_flight[1].id)
    reading = client.consume(GROUP, READER)
    read = [next(reading) for _ in range(3)]

    pending = [
        client.submit(inline=picture(20), id="pending"),
        *client.submit_many([{"inline": _base64(picture(shade))} for shade in (21, 22)], id="pending-bulk"),
    ]
    raw = {"id": "pending-raw", "image": {"inline": _base64(picture(23))}}
    queue = keys.QUEUES[Priority.INTERACTIVE]
    client.redis.lpush(queue, encode_message(raw, queue))
    # As one that answered them and died before it acknowledged their messages and delivered their webhooks.
    hooks["due"] = _answer(client, "webhook-due", 30, "due")
    disabled = _answer(client, "webhook-disabled", 31, "gone")
    return {
        "answered": [*answered, *hooks.values(), disabled],
        "dead": [dead.key],
        "judged_later": [*(one.key for one in (retrying, *in_flight, *pending)), "moderator:pending-raw"],
        "webhooks": {
            "arrives": {hook: hooks[hook] for hook in ("fails", "hangs", "due")},
            "dead": {"redirects": hooks["redirects"], "gone": hooks["gone"]},
            "dies": {"gone": disabled},
            "ids": ids,
        },
        "read": [verdict.event_id for verdict in read[:2]],
    }


def _answer(client: Client, id: str, shade: int, hook: str) -> str:
    body = {"id": id, "image": {"inline": _base64(picture(shade))}, "reply": {"webhook": url(f"/{hook}")}}
    ((event, _),) = client.ledger.accept(body)
    (claim,) = client.ledger.claim([event])
    assert not isinstance(claim, str)
    verdict = Verdict(event_id=id, source=event.source, decision=Decision.ALLOW, is_safe=True)
    client.ledger.publish([Answered(event, verdict, claim=claim)], ttl=1e9, stream_length=1000)
    return event.key


def _move_to_older_names(client: Client, id: str) -> None:
    """Let a message in flight stand where earlier versions kept it, under Celery's own names."""
    for tag, entry in client.redis.hgetall(keys.UNACKED).items():
        (message, *_) = json.loads(entry)
        if id in _text(message):
            score = client.redis.zscore(keys.UNACKED_INDEX, tag)
            client.redis.hset(keys.SHARED_UNACKED, tag, entry)
            client.redis.zadd(keys.SHARED_UNACKED_INDEX, {tag: score})
            client.redis.hdel(keys.UNACKED, tag)
            client.redis.zrem(keys.UNACKED_INDEX, tag)
            return
    raise AssertionError(f"{id} is not in flight")


def _text(message: dict[str, str]) -> str:
    return b64decode(message["body"]).decode()


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _compact(client: Client) -> None:
    """Let the file hold what is there now, not how it came about; readable, for whoever looks into it."""
    client.redis.config_set("rdbcompression", "no")
    client.redis.bgrewriteaof()
    until(lambda: not client.redis.info("persistence")["aof_rewrite_in_progress"], what="the rewrite")


def _commit() -> str:
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return git.stdout.strip()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
