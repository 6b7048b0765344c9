"""The whole way of an upload with real senders: moto's SNS and a tus server post, the gateway answers."""

import json
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer, free_port
from moderator.settings import Settings
from moderator.verdicts import Decision, Verdict
from tests.support.aws import Aws, aws_server
from tests.support.service import DEMO, SETTINGS, WorkerProcess, until
from tests.support.tools import needs
from tests.support.tus import install_tus

TOPIC = "arn:aws:sns:us-east-1:123456789012:uploads"


class GatewayProcess(WorkerProcess):
    """`moderator gateway`."""

    command = "gateway"

    def ready(self) -> bool:
        return self.get_status("/readyz") == 200


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_server() as aws:
        yield aws


@pytest.fixture(scope="module")
def service(
    aws: Aws, policies: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, Client]]:
    """A gateway with a worker, which may read the buckets and the folder `uploads` beside its log."""
    folder = tmp_path_factory.mktemp("hooks")
    (folder / "uploads").mkdir()
    with EmbeddedServer(folder / "server") as server:
        port = free_port()
        settings = {
            **SETTINGS,
            **aws.settings,
            "redis_url": server.url,
            "policies": str(policies),
            "cache": str(cache),
            "fetch_roots": str(folder / "uploads"),
            "buckets": "pictures",
            "sns_topics": TOPIC,
            "gateway_anonymous": "true",
            "gateway_port": str(port),
            "default_policy": "marketplace",
        }
        worker = WorkerProcess(folder, **settings).start(wait=False)
        gateway = GatewayProcess(folder / "gateway", **settings, metrics_port=str(port)).start()
        worker.wait_until_ready()
        yield gateway, Client(settings=Settings(redis_url=server.url))
        assert gateway.stop() == 0, gateway.log
        assert worker.stop() == 0, worker.log


def test_an_object_whose_notification_comes_through_sns(
    aws: Aws, service: tuple[GatewayProcess, Client]
) -> None:
    gateway, client = service
    sns, s3 = aws.client("sns"), aws.client("s3")
    assert sns.create_topic(Name="uploads")["TopicArn"] == TOPIC
    sns.subscribe(TopicArn=TOPIC, Protocol="http", Endpoint=f"{gateway.url}/v1/hooks/sns")
    s3.create_bucket(Bucket="pictures")
    s3.put_bucket_versioning(Bucket="pictures", VersioningConfiguration={"Status": "Enabled"})
    entry = {"TopicArn": TOPIC, "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(
        Bucket="pictures", NotificationConfiguration={"TopicConfigurations": [entry]}
    )

    cat = (DEMO / "cat.jpg").read_bytes()
    version = s3.put_object(Bucket="pictures", Key="a cat+1/cat.jpg", Body=cat)["VersionId"]

    found = until(lambda: newest(client, "s3"), what="a verdict")
    assert found.decision is Decision.BLOCK
    told = found.metadata["object"]
    assert isinstance(told, dict)
    assert told["key"] == "a cat+1/cat.jpg"
    if "version" in told:
        assert found.event_id == f"pictures/a cat+1/cat.jpg@{version}"


def newest(client: Client, source: str) -> Verdict | None:
    """The latest verdict of a source."""
    found = [v for _, v in client.verdicts.tail("0", follow=False) if v.source == source]
    return found[-1] if found else None


Upload = Callable[..., tuple[int, dict[str, str], str]]


@pytest.fixture(scope="module")
def upload(
    service: tuple[GatewayProcess, Client], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upload]:
    """Uploads a file to a tus server that calls the gateway; returns status, headers and body of the answer."""
    gateway, _ = service
    needs("node", package="nodejs")
    program = install_tus(tmp_path_factory.mktemp("tus"))
    folder = gateway.folder.parent / "uploads"
    process = subprocess.Popen(
        [
            *("node", str(program), "-upload-dir", str(folder), "-port", "0"),
            *("-hooks-http", f"{gateway.url}/v1/hooks/tusd?policy=marketplace"),
            *("-hooks-enabled-events", "pre-create,pre-finish,post-finish"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = f"http://127.0.0.1:{process.stdout.readline().strip()}/files"

    def send(file: Path, kind: str = "image/jpeg") -> tuple[int, dict[str, str], str]:
        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(file.stat().st_size),
            "Upload-Metadata": f"filetype {b64encode(kind.encode()).decode()}",
            "Content-Type": "application/offset+octet-stream",
        }
        request = urllib.request.Request(url, file.read_bytes(), headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, dict(answer.headers), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read().decode()

    yield send
    process.kill()
    process.wait()
    process.stdout.close()


def test_an_upload_that_is_allowed(upload: Upload, service: tuple[GatewayProcess, Client]) -> None:
    status, headers, _ = upload(DEMO / "coffee.jpg")
    assert (status, headers["moderation-decision"]) == (201, "allow")
    id = headers["location"].rpartition("/")[2]
    found = service[1].verdict(id, source="tusd")
    assert found is not None
    size = (DEMO / "coffee.jpg").stat().st_size
    assert found.metadata["upload"] == {"size": size, "client": {"filetype": "image/jpeg"}}


def test_an_upload_that_is_blocked(upload: Upload) -> None:
    status, _, body = upload(DEMO / "cat.jpg")
    answer = json.loads(body)
    assert (status, answer["decision"], answer["categories"]) == (403, "block", ["live-animals"])


def test_an_upload_that_is_no_image(upload: Upload, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"<html>")
    _, headers, _ = upload(tmp_path / "a.jpg")
    assert (headers["moderation-decision"], headers["moderation-failure"]) == ("hold", "error")
    status, _, body = upload(DEMO / "coffee.jpg", kind="application/pdf")
    assert (status, json.loads(body)["decision"]) == (415, "reject")
