"""A worker with a vision-language model of the true architecture: who is asked, and what nobody waits for."""

import time
from pathlib import Path

import pytest

from moderator.queue.embedded_server import EmbeddedServer
from moderator.verdicts import Decision
from tests.integration.conftest import StartWorker
from tests.support.policies import release
from tests.support.service import copy_policies, make_client, run_first, until
from tests.support.tools import needs_extra

needs_extra("scipy.ndimage", "vlm")

POLICY = """\
name: watched
version: 1
safe: [a cup of coffee, a landscape, a chair]
signals:
  - {{name: guard, kind: second-opinion, {model}, share: 1, seconds: {seconds}, clears: {{animals: {clears}}}}}
categories:
  animals: {{unsafe: [a red panda, a photo of a panda], review: 0.5, block: never}}
"""
#: The time limit of the question.
SECONDS = 12
#: The model never answers.
HANGS = """
import time
from moderator.vlm import guards
guards.YesNoModel.__call__ = lambda *_: time.sleep(3600)
"""


def write(folder: Path, seconds: float, clears: float) -> Path:
    from tests.support.vlm_models import entry, save_qwen  # takes seconds to import

    copy_policies(folder)
    model = save_qwen(folder / "models" / "qwen")
    (folder / "watched").mkdir()
    text = POLICY.format(model=entry(model, folder), seconds=seconds, clears=clears)
    (folder / "watched" / "1.yaml").write_text(text)
    release(folder, "watched", 1)
    (folder / "active.yaml").write_text((folder / "active.yaml").read_text() + "watched: {active: 1}\n")
    return folder


@pytest.mark.slow
def test_an_image_in_review_is_asked_about_and_another_is_not(
    server: EmbeddedServer, start_worker: StartWorker, images: Path, tmp_path: Path
) -> None:
    # Fresh weights answer around a half.
    folder = write(tmp_path / "policies", seconds=60, clears=0.5)
    worker = start_worker(server.url, policies=str(folder), signal_dtype="float32")
    client = make_client(server.url)
    for name in ("red-panda", "coffee"):
        client.submit(path=images / f"{name}.jpg", id=name, policy="watched")
    asked, quiet = (client.wait(name, timeout=60) for name in ("red-panda", "coffee"))
    assert (quiet.decision, quiet.signals["guard"]["asked"]) == (Decision.ALLOW, [])
    facts = asked.signals["guard"]
    assert (facts["asked"], facts["model"].split()[0]) == (["animals"], "qwen")
    cleared = facts["answers"]["animals"] < 0.5
    assert asked.decision is (Decision.ALLOW if cleared else Decision.REVIEW)
    assert facts["outcome"] == ("cleared" if cleared else "kept")
    assert asked.timings_ms["opinion"] > 0
    sample = f"moderation_second_opinions_total{{outcome={facts['outcome']},policy=watched}}"
    until(lambda: worker.metrics().get(sample) == 1)
    worker.kill()


@pytest.mark.slow
def test_a_model_that_hangs_holds_up_nobody(
    server: EmbeddedServer,
    start_worker: StartWorker,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write(tmp_path / "policies", seconds=SECONDS, clears=0.5)
    (tmp_path / "first").mkdir()
    run_first(HANGS, tmp_path / "first", monkeypatch)
    worker = start_worker(server.url, policies=str(folder), max_batch="4")
    client = make_client(server.url)
    start = time.monotonic()
    # More than there are places for opinions, and than the queue has places at once.
    waiting = [
        client.submit(path=images / "red-panda.jpg", id=f"waits-{n}", policy="watched") for n in range(40)
    ]
    for n in range(10):  # their policy asks for no second opinion
        client.submit(path=images / "coffee.jpg", id=f"other-{n}")
        assert client.wait(f"other-{n}", timeout=30).decision is not Decision.ERROR
    held = [event for event in waiting if client.verdicts.get(event.key) is None]
    assert held, "nobody waited for the model; the test shows nothing"
    assert time.monotonic() - start < SECONDS, "other images waited for the model, too"
    verdicts = [client.wait(event.id, timeout=60) for event in waiting]
    assert {verdict.decision for verdict in verdicts} == {Decision.REVIEW}
    outcomes = [verdict.signals["guard"]["outcome"] for verdict in verdicts]
    assert set(outcomes) == {"failed", "not-asked"}
    assert "SignalTimeout" in next(
        v.signals["guard"]["reason"] for v in verdicts if v.signals["guard"]["outcome"] == "failed"
    )
    assert time.monotonic() - start < 2 * SECONDS, "later images waited for the model, too"
    assert len(client.dead_letters) == 0
    assert worker.stop() == 0, worker.log  # with the model still hanging
