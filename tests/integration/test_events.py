"""From an event to its verdict, through a real server, a real worker process and the real model."""

import hashlib
from pathlib import Path
from uuid import uuid4

import pytest

from moderator.client import Client
from moderator.errors import EventInvalid, VerdictTimeout
from moderator.queue import keys
from moderator.queue.ledger import Acceptance
from moderator.queue.message import encode_message
from moderator.verdicts import Decision
from tests.support.http_server import Answer, HttpServer
from tests.support.service import WorkerProcess, small_jpeg, until


def published(client: Client, event_id: str) -> int:
    """How often a verdict of the event stands in the stream."""
    return sum(v.event_id == event_id for _, v in client.verdicts.tail("0", follow=False))


def test_a_path_gets_a_whole_verdict(client: Client, images: Path) -> None:
    event = client.submit(path=images / "cat.jpg", metadata={"user": "é", "nested": {"n": [1, None]}})

    verdict = client.wait(event.id)

    assert (verdict.event_id, verdict.source) == (event.id, "moderator")
    assert verdict.decision is not Decision.ERROR
    assert verdict.error is None
    assert verdict.image is not None
    assert verdict.image.sha256 == hashlib.sha256((images / "cat.jpg").read_bytes()).hexdigest()
    assert verdict.policy is not None
    assert verdict.policy.name == "marketplace"
    assert len(verdict.policy.digest) == 64
    assert verdict.model is not None
    assert verdict.model.id == "embedded"
    assert verdict.metadata == {"user": "é", "nested": {"n": [1, None]}}
    assert verdict.timings_ms.keys() >= {"queue", "fetch", "decode", "batch_wait", "embed", "score"}
    assert client.verdict(event.id) == verdict
    assert published(client, event.id) == 1


def test_the_same_image_gets_the_same_scores_by_path_inline_and_url(
    client: Client, images: Path, http: HttpServer
) -> None:
    file = images / "coffee.jpg"
    http.answers["/coffee.jpg?signed=yes"] = [Answer(200, file.read_bytes())]
    events = [
        client.submit(path=file),
        client.submit(inline=file.read_bytes(), priority="bulk"),
        client.submit(url=http.url("/coffee.jpg?signed=yes")),
    ]

    verdicts = [client.wait(event.id) for event in events]

    assert [v.decision for v in verdicts] == [verdicts[0].decision] * 3
    for verdict in verdicts[1:]:
        # A batch of another size may round otherwise.
        assert verdict.unsafe_score == pytest.approx(verdicts[0].unsafe_score, abs=1e-4)
        assert verdict.image == verdicts[0].image


def test_each_image_of_a_bulk_message_gets_one_verdict(client: Client, small_images: list[Path]) -> None:
    references = [{"path": str(small_images[n % len(small_images)])} for n in range(40)]
    references[7] = {"path": str(small_images[0].parent / "is-not-there.jpg")}

    events = client.submit_many(references, id=f"gallery-{uuid4().hex}", metadata={"gallery": 5})

    verdicts = [client.wait(event.id) for event in events]
    assert [v.event_id for v in verdicts] == [event.id for event in events]
    assert [n for n, v in enumerate(verdicts) if v.decision is Decision.ERROR] == [7]
    assert all(v.metadata == {"gallery": 5} for v in verdicts)
    assert {published(client, event.id) for event in events} == {1}


def test_interactive_events_overtake_bulk_ones(
    client: Client, images: Path, small_images: list[Path]
) -> None:
    bulk = client.submit_many([{"path": str(images / "red-panda.jpg")}] * 60, id=f"many-{uuid4().hex}")
    quick = client.submit(path=small_images[0])

    client.wait(quick.id)

    assert client.verdict(bulk[-1].id) is None, "60 bulk images were done before one interactive image"
    assert client.wait(bulk[-1].id).decision is not Decision.ERROR


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", "NotAnImage"), (b"<svg onload=alert(1)>", "NotAnImage"), (b"\xff\xd8\xff\xe0", "ImageBroken")],
)
def test_what_is_no_image_gets_an_error_and_a_dead_letter(
    client: Client, images: Path, tmp_path: Path, content: bytes, error: str
) -> None:
    file = images / f"{tmp_path.name}.jpg"
    file.write_bytes(content)
    event = client.submit(path=file)

    verdict = client.wait(event.id)

    assert verdict.decision is Decision.ERROR
    assert not verdict.is_safe
    assert verdict.error is not None
    assert verdict.error.type == error
    letter = client.dead_letters.get(event.key)
    assert letter is not None
    assert (letter.error, letter.attempts, letter.event) == (error, 1, event.event)


def test_a_truncated_photograph_is_judged_as_browsers_show_it(client: Client, images: Path) -> None:
    data = (images / "astronaut.jpg").read_bytes()
    event = client.submit(inline=data[: len(data) // 2])

    verdict = client.wait(event.id)

    assert verdict.error is None
    assert verdict.image is not None
    assert verdict.image.truncated


def test_a_photograph_of_which_almost_nothing_arrived_is_broken(client: Client, images: Path) -> None:
    data = (images / "astronaut.jpg").read_bytes()
    event = client.submit(inline=data[: len(data) // 30])

    verdict = client.wait(event.id)

    assert verdict.error is not None
    assert verdict.error.type == "ImageBroken"


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ({"path": "/etc/passwd"}, "FetchRefused"),
        ({"path": "relative.jpg"}, "FetchRefused"),
        ({"url": "http://10.0.0.1/x.jpg"}, "FetchRefused"),
        ({"url": "http://[::1/x.jpg"}, "FetchRefused"),
        ({"url": "file:///etc/passwd"}, "FetchRefused"),
        ({"key": "bucket/object.jpg"}, "FetchRefused"),
        ({"inline": "this is not base64!"}, "NotAnImage"),
    ],
)
def test_references_that_are_refused(client: Client, reference: dict[str, str], error: str) -> None:
    """Past the client, which refuses most of them at once."""
    ((event, _),) = client.ledger.accept({"id": uuid4().hex, "image": reference})

    verdict = client.wait(event.id)

    assert verdict.decision is Decision.ERROR
    assert verdict.error is not None
    assert verdict.error.type == error


def test_an_unknown_policy_is_an_error_with_the_names_that_exist(
    client: Client, small_images: list[Path]
) -> None:
    event = client.submit(path=small_images[0], policy="marketplaze")

    verdict = client.wait(event.id)

    assert verdict.error is not None
    assert verdict.error.type == "PolicyNotFound"
    assert "marketplace" in verdict.error.message


def test_a_replayed_dead_letter_gets_a_new_verdict(client: Client, images: Path, tmp_path: Path) -> None:
    file = images / f"{tmp_path.name}.jpg"
    event = client.submit(path=file)
    assert client.wait(event.id).decision is Decision.ERROR
    letter = client.dead_letters.get(event.key)
    assert letter is not None

    small_jpeg(file)
    client.dead_letters.replay(letter)

    verdict = client.wait(event.id)
    assert verdict.decision is not Decision.ERROR
    assert client.dead_letters.get(event.key) is None
    assert published(client, event.id) == 2, "the error and the new verdict"


def test_a_replay_that_fails_again_is_a_dead_letter_again(client: Client, images: Path) -> None:
    event = client.submit(path=images / "never-there.jpg")
    for _ in range(5):
        client.wait(event.id)
        letter = client.dead_letters.get(event.key)
        assert letter is not None, "the new dead letter was dropped with the old one"
        client.dead_letters.replay(letter)
    client.wait(event.id)
    assert client.dead_letters.get(event.key) is not None


def test_a_url_that_fails_twice_is_tried_again(client: Client, images: Path, http: HttpServer) -> None:
    http.answers["/shaky"] = [Answer(503), Answer(503), Answer(200, (images / "cat.jpg").read_bytes())]

    event = client.submit(url=http.url("/shaky"))

    assert client.wait(event.id).decision is not Decision.ERROR
    assert len(http.asked("/shaky")) == 3
    assert published(client, event.id) == 1


def test_a_url_that_always_fails_is_given_up(client: Client, http: HttpServer) -> None:
    http.answers["/down"] = [Answer(503)]

    event = client.submit(url=http.url("/down"))

    verdict = client.wait(event.id)
    assert verdict.error is not None
    assert verdict.error.type == "FetchFailed"
    letter = client.dead_letters.get(event.key)
    assert letter is not None
    assert letter.attempts == 3 == len(http.asked("/down"))


def test_a_url_that_is_not_there_is_not_tried_again(client: Client, http: HttpServer) -> None:
    event = client.submit(url=http.url("/404"))

    verdict = client.wait(event.id)

    assert verdict.error is not None
    assert verdict.error.type == "ImageNotFound"
    assert len(http.asked("/404")) == 1


def test_submitting_an_id_again_gives_one_verdict(client: Client, small_images: list[Path]) -> None:
    body = {"id": f"twice:{uuid4().hex}", "image": {"path": str(small_images[0])}}
    states = [client.submit_event(body)[1] for _ in range(5)]
    client.wait(body["id"])
    states.append(client.submit_event(body)[1])

    assert states[0] is Acceptance.ACCEPTED
    assert Acceptance.ACCEPTED not in states[1:]
    assert states[-1] is Acceptance.ANSWERED
    marker = client.submit(path=small_images[1])
    client.wait(marker.id)
    assert published(client, body["id"]) == 1


def test_the_same_id_of_two_sources_are_two_events(client: Client, small_images: list[Path]) -> None:
    id_ = uuid4().hex
    for source in ("a:b", "a"):
        client.submit(path=small_images[0], id=id_, source=source)

    assert client.wait(id_, source="a:b").source == "a:b"
    assert client.wait(id_, source="a").source == "a"


def test_a_message_delivered_again_publishes_nothing(
    client: Client, worker: WorkerProcess, small_images: list[Path]
) -> None:
    event = client.submit(path=small_images[0])
    first = client.wait(event.id)
    before = worker.metrics()["moderation_redeliveries_total"]

    for queue in keys.QUEUES.values():
        body = event.event.model_dump(mode="json", exclude_none=True)
        message = encode_message(body, queue)
        client.redis.lpush(queue, message, message)

    until(lambda: worker.metrics()["moderation_redeliveries_total"] >= before + 4)
    assert client.verdict(event.id) == first
    assert published(client, event.id) == 1


def test_waiting_ends_after_the_timeout(client: Client) -> None:
    with pytest.raises(VerdictTimeout, match=r"no verdict for event nobody of source moderator after 0\.3 s"):
        client.wait("nobody", timeout=0.3)


def test_a_bulk_event_needs_submit_many(client: Client) -> None:
    with pytest.raises(EventInvalid, match="submit_many"):
        client.submit_event({"id": "x", "images": [{"path": "/x"}]})
