"""Blobs in private containers of a real Azurite: from what Event Grid posts, by gateway and worker to a verdict."""

import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from fastapi.testclient import TestClient

from moderator.client import Client
from moderator.errors import FetchRefused, ImageNotFound
from moderator.events import ImageReference
from moderator.fetching.fetcher import Fetcher
from moderator.gateway.gateway_app import create_app
from moderator.queue.embedded_server import EmbeddedServer
from moderator.settings import Settings
from moderator.verdicts import Decision, Verdict
from tests.support.azurite import EARLIER, Azurite, azurite_server, container_sas
from tests.support.hook_bodies import event_grid_body, event_grid_cloud_event
from tests.support.service import ForkedWorker, WorkerProcess, make_client

CONTAINERS = ("pictures", "bare", "expired", "mismatched")


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with azurite_server(tmp_path_factory.mktemp("azurite") / "program") as azurite:
        for container in CONTAINERS:
            azurite.make_container(container)
        yield azurite


@pytest.fixture(scope="module")
def signatures(azurite: Azurite) -> dict[str, str]:
    """What the workers have for each container; `bare` has none."""
    return {
        "pictures": container_sas("pictures"),
        "expired": container_sas("expired", ends=EARLIER),
        "mismatched": container_sas("pictures"),
    }


@pytest.fixture(scope="module")
def fetch_sas(azurite: Azurite, signatures: dict[str, str]) -> str:
    return " ".join(azurite.container_url(container, sas) for container, sas in signatures.items())


@dataclass
class Place:
    """A service: Redis, a gateway, a worker."""

    client: Client
    worker: WorkerProcess
    app: TestClient

    def report(self, body: bytes, **headers: str) -> Any:
        """Post as Event Grid does."""
        return self.app.post("/v1/hooks/azure?policy=marketplace", content=body, headers=headers).json()

    def everything(self) -> str:
        """All that is kept, logged and measured."""
        with urllib.request.urlopen(f"{self.worker.url}/metrics", timeout=30) as answer:
            metrics = answer.read().decode()
        return metrics + self.worker.log + "".join(map(self._read, self.client.redis.scan_iter()))

    def _read(self, key: bytes) -> str:
        redis = self.client.redis
        read = {
            b"none": lambda key: "is gone by now",
            b"string": redis.get,
            b"hash": redis.hgetall,
            b"list": lambda key: redis.lrange(key, 0, -1),
            b"set": redis.smembers,
            b"zset": lambda key: redis.zrange(key, 0, -1),
            b"stream": redis.xrange,
        }
        return f"{key!r} {read[redis.type(key)](key)!r}\n"


@pytest.fixture(scope="module")
def place(
    fetch_sas: str,
    module_server: EmbeddedServer,
    policies: Path,
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    worker = ForkedWorker(
        tmp_path_factory.mktemp("worker"),
        redis_url=module_server.url,
        policies=str(policies),
        cache=str(cache),
        fetch_networks="127.0.0.0/8",
        fetch_sas=fetch_sas,
    ).start()
    settings = Settings(redis_url=module_server.url, gateway_anonymous=True)
    with TestClient(create_app(settings)) as app:
        yield Place(make_client(module_server.url), worker, app)
    assert worker.stop() == 0, worker.log


@pytest.mark.slow
def test_from_the_report_to_the_verdict(
    place: Place, azurite: Azurite, signatures: dict[str, str], images: Path
) -> None:
    cat = (images / "cat.jpg").read_bytes()
    bare = azurite.put("bare", "cats/a%20cat.jpg", cat)
    urls = {name: azurite.put(name, "cats/a%20cat.jpg", cat) for name in ("pictures", *signatures)}
    for number, url in enumerate((*urls.values(), bare)):
        if number % 2:
            answer = place.report(event_grid_body(url))
        else:
            headers, body = event_grid_cloud_event(url)
            answer = place.report(body, **headers)
        assert answer["accepted"] == 1, answer

    def verdict(url: str) -> Verdict:
        name = unquote(url.partition("://")[2])
        return place.client.wait(f"{name}@00000000000004420000000000028963", source="azure", timeout=30)

    assert verdict(urls["pictures"]).decision is Decision.BLOCK
    for url, words in {
        bare: "put a shared access signature",
        urls["expired"]: "ended on 2020-01-01 00:00 UTC; put a new one into MODERATOR_FETCH_SAS",
        urls["mismatched"]: "made for this container",
    }.items():
        found = verdict(url)
        assert found.decision is Decision.ERROR
        assert found.error is not None
        assert (found.error.type, words in found.error.message) == ("FetchRefused", True), found.error
    assert len(place.client.dead_letters) == 3

    everything = place.everything()
    assert bare in everything, "a dead letter keeps the URL"
    for sas in signatures.values():
        (signature,) = parse_qs(sas)["sig"]
        assert signature not in everything
        assert sas.partition("sig=")[2] not in everything


def test_what_a_signature_opens(azurite: Azurite, fetch_sas: str) -> None:
    settings = {"fetch_networks": "127.0.0.0/8", "fetch_sas": fetch_sas}
    fetcher = Fetcher.from_settings(Settings(**settings))  # type: ignore[arg-type]
    url, other = azurite.put("pictures", "b", b"open"), azurite.put("bare", "b", b"closed")
    assert fetcher.fetch(ImageReference(url=url)) == b"open"
    for way_out in ("/pictures/../bare/b", "/pictures/%2e%2e/bare/b", "/pictures%2F..%2Fbare/b"):
        with pytest.raises((FetchRefused, ImageNotFound)):
            fetcher.fetch(ImageReference(url=azurite.url + way_out))
    # A URL that is signed already is taken as it is.
    assert fetcher.fetch(ImageReference(url=f"{other}?{container_sas('bare')}")) == b"closed"
    with pytest.raises(ImageNotFound, match="check that the URL is right and still valid"):
        fetcher.fetch(ImageReference(url=f"{url}?{container_sas('bare')}"))
    with pytest.raises(ImageNotFound, match="404"):
        fetcher.fetch(ImageReference(url=f"{url}-missing"))
