import base64
from pathlib import Path
from typing import Any

import pytest

from moderator.client import Client
from moderator.errors import EventInvalid, ImageNotFound, ImageTooLarge, NotAnImage, VerdictTimeout
from moderator.events import parse_message
from moderator.queue.ledger import Acceptance
from moderator.settings import Settings


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """Nothing here is sent: no server listens at that address."""
    settings = Settings(redis_url="redis://127.0.0.1:1", fetch_roots=(tmp_path / "uploads",), max_bytes=10)
    return Client(settings=settings)


def test_local_images_go_by_path_where_workers_may_read_them(client: Client, tmp_path: Path) -> None:
    inside, outside = tmp_path / "uploads" / "a.png", tmp_path / "b.png"
    inside.parent.mkdir()
    for path in (inside, outside):
        path.write_bytes(b"image")
    assert client.local_image(inside) == {"path": str(inside)}
    assert client.local_image(outside) == {"inline": base64.b64encode(b"image").decode()}


def test_local_images_that_cannot_be_sent(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound):
        client.local_image(tmp_path / "missing.png")
    with pytest.raises(ImageNotFound):
        client.local_image(tmp_path)
    (tmp_path / "large.png").write_bytes(b"x" * 11)
    with pytest.raises(ImageTooLarge, match="MODERATOR_MAX_BYTES=10"):
        client.local_image(tmp_path / "large.png")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"path": "/a", "url": "https://example.com"},
        {"path": "/a", "id": ""},
        {"path": "/a", "source": ""},
        {"path": "/a", "priority": "urgent"},
        {"path": "/a", "metadata": {"a": object()}},
    ],
)
def test_what_is_no_event_is_refused_before_anything_is_sent(
    client: Client, arguments: dict[str, object]
) -> None:
    with pytest.raises(EventInvalid):
        client.submit(**arguments)


def test_bulk_events_have_a_method_of_their_own(client: Client) -> None:
    with pytest.raises(EventInvalid, match="use submit_many"):
        client.submit_event({"id": "b", "images": [{"path": "/a"}]})
    with pytest.raises(EventInvalid, match="at least one"):
        client.submit_many([])
    for body in ([], "id", None):
        with pytest.raises(EventInvalid, match="an event is a JSON object"):
            client.submit_event(body)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": "cat.jpg"},
        {"url": "ftp://example.org/cat.jpg"},
        {"key": "bucket/cat.jpg"},
        {"inline": b""},
        {"inline": b"x" * 11},
        {"path": "/x", "policy": "No Policy"},
        {"path": "/x", "webhook": "no url"},
    ],
)
def test_what_no_worker_could_judge_is_refused_before_anything_is_sent(
    client: Client, arguments: dict[str, Any]
) -> None:
    with pytest.raises(EventInvalid):
        client.submit(**arguments)
    image = (
        {"inline": ""}
        if "inline" in arguments
        else {k: v for k, v in arguments.items() if k in ("path", "url", "key")}
    )
    body = {
        "id": "a",
        "image": image,
        "policy": arguments.get("policy"),
        "reply": {"webhook": arguments.get("webhook")},
    }
    with pytest.raises(EventInvalid):
        client.submit_event(body)
    with pytest.raises(EventInvalid):
        client.validate(body)
    if "webhook" not in arguments:
        with pytest.raises(EventInvalid):
            client.submit_many([{"path": "/y"}, image], policy=arguments.get("policy"))


class Asked(Client):
    """Takes every event; waits for none."""

    def __init__(self) -> None:
        super().__init__(settings=Settings(redis_url="redis://127.0.0.1:1"))
        self.intake.accept = lambda body: [(e, Acceptance.ACCEPTED) for e in parse_message(body)]  # type: ignore[method-assign]
        self.keys: list[str] = []
        self.verdicts.wait = self._note  # type: ignore[method-assign,assignment]

    def _note(self, key: str, timeout: float) -> None:
        self.keys.append(key)
        raise VerdictTimeout("store")


def test_an_id_finds_the_source_with_which_it_was_submitted() -> None:
    client = Asked()
    event = client.submit(path="/x", id="a", source="shop")
    client.submit(path="/x", id="b")
    client.submit(path="/x", id="c", source="shop")
    client.submit(path="/x", id="c")
    many = client.submit_many([{"path": "/x"}] * 2, id="d", source="shop")
    raw, _ = client.submit_event({"id": "e", "source": "blog", "image": {"path": "/x"}})

    for asked in ("a", event, "b", "c", *(one.id for one in many), "e", raw, "unknown"):
        with pytest.raises(VerdictTimeout):
            client.wait(asked, timeout=0.1)
    with pytest.raises(VerdictTimeout, match=r"event a of source blog after 0.1 s.*source="):
        client.wait("a", source="blog", timeout=0.1)

    # An id finds an image of a bulk event under the name of a single event, too.
    expected = ["shop:a", "shop:a", "moderator:b", "moderator:c", "shop:d/0", "shop:d/1"]
    assert client.keys == [*expected, "blog:e", "blog:e", "moderator:unknown", "blog:a"]


def test_the_sources_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderator.client.submissions.SOURCES_REMEMBERED_MAX", 2)
    client = Asked()
    for name in "abc":
        client.submit(path="/x", id=name, source="shop")
    for name in "abc":
        with pytest.raises(VerdictTimeout):
            client.wait(name)
    assert client.keys == ["moderator:a", "shop:b", "shop:c"]


def test_an_empty_file_is_no_image(client: Client, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(NotAnImage, match="empty"):
        client.local_image(tmp_path / "empty.png")
