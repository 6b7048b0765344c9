"""Policies that change under a running worker."""

from pathlib import Path

import pytest

from moderator.client import Client
from moderator.queue.embedded_server import EmbeddedServer
from moderator.verdicts import Decision
from tests.integration.conftest import StartWorker
from tests.support.service import copy_policies, make_client, until

POINTER = "marketplace: {active: %d, shadow: [%d]}\nclassic: {active: 1}\n"


@pytest.mark.slow
def test_a_worker_takes_a_changed_pointer_and_keeps_what_works(
    server: EmbeddedServer, start_worker: StartWorker, tmp_path: Path, small_images: list[Path]
) -> None:
    folder = copy_policies(tmp_path / "policies")
    pointer = folder / "active.yaml"
    pointer.write_text(POINTER % (2, 1))
    worker = start_worker(server.url, policies=str(folder))
    client = make_client(server.url)

    verdict = client.wait(client.submit(path=small_images[0]).id)
    assert verdict.policy is not None
    assert verdict.policy.version == 2
    assert [shadow.version for shadow in verdict.shadow] == [1]
    assert verdict.shadow[0].categories.keys() == verdict.categories.keys()
    assert verdict.shadow[0].digest != verdict.policy.digest

    pointer.write_text(POINTER % (1, 2))
    until(lambda: version(client, small_images) == 1)
    until(lambda: info(worker.metrics()) == {("active", "1"), ("shadow", "2")})

    pointer.write_text("marketplace: {active: ")
    until(lambda: "active.yaml" in worker.log)
    assert version(client, small_images) == 1

    (folder / "marketplace" / "1.yaml").write_text("name: marketplace\n")
    until(lambda: str(Path("marketplace") / "1.yaml") in worker.log)
    assert version(client, small_images) == 1, "a broken file replaced a working policy"
    until(
        lambda: any(
            v
            for k, v in worker.metrics().items()
            if k.startswith("moderation_failures_total{error=PolicyInvalid")
        )
    )

    pointer.write_text("marketplace: {active: 2}\n")
    until(lambda: version(client, small_images) == 2)


def version(client: Client, small_images: list[Path]) -> int:
    verdict = client.wait(client.submit(path=small_images[0]).id)
    assert verdict.decision is not Decision.ERROR, verdict.error
    assert verdict.policy is not None
    return verdict.policy.version


def info(page: dict[str, float]) -> set[tuple[str, str]]:
    labels = [k.partition("{")[2].strip("}") for k in page if k.startswith("moderation_policy_info{")]
    parsed = [dict(part.split("=") for part in text.split(",")) for text in labels]
    return {(labels["role"], labels["version"]) for labels in parsed if labels["policy"] == "marketplace"}
