"""Workers with different folders of policies on one Redis, as during a deployment."""

import signal
from pathlib import Path

import pytest

from moderator.queue.embedded_server import EmbeddedServer
from moderator.verdicts import Decision
from tests.integration.conftest import StartWorker
from tests.support.policies import activate, release
from tests.support.service import copy_policies, make_client, until

EVENTS = 60
NEW = """\
name: brand-new
version: 1
safe: [a landscape, a plate of food, a chair]
categories:
  weapons: {unsafe: [a gun, a rifle], review: 0.45, block: 0.8}
"""


@pytest.mark.slow
def test_events_for_a_policy_that_one_worker_knows_wait_for_that_one(
    server: EmbeddedServer,
    start_worker: StartWorker,
    tmp_path: Path,
    small_images: list[Path],
    small_model: dict[str, str],
) -> None:
    old, new = copy_policies(tmp_path / "old"), copy_policies(tmp_path / "new")
    (new / "brand-new").mkdir()
    (new / "brand-new" / "1.yaml").write_text(NEW)
    release(new, "brand-new", 1)
    activate(new, "brand-new", 1)
    workers = [start_worker(server.url, policies=str(folder), **small_model) for folder in (old, new)]
    client = make_client(server.url)
    workers[1].send(signal.SIGSTOP)  # so that the one that does not know it takes them first
    ids = [
        client.submit(path=small_images[n % 10], policy=("brand-new", "brand-new@1")[n % 2]).id
        for n in range(EVENTS)
    ]
    until(
        lambda: (
            workers[0].metrics().get("moderation_failures_total{error=PolicyNotFound,stage=score}", 0) > 30
        )
    )
    workers[1].send(signal.SIGCONT)
    verdicts = [client.wait(name, timeout=120) for name in ids]
    assert {(v.policy.name, v.policy.version) for v in verdicts if v.policy} == {("brand-new", 1)}
    assert [v.error for v in verdicts if v.decision is Decision.ERROR] == []
    assert len(client.dead_letters) == 0
    # What no worker knows is not waited for.
    verdict = client.wait(client.submit(path=small_images[0], policy="nobody-knows").id, timeout=20)
    assert verdict.error is not None
    assert (verdict.decision, verdict.error.type) == (Decision.ERROR, "PolicyNotFound")
