import base64
from pathlib import Path

import pytest

from moderator.client import Client
from moderator.errors import EventInvalid, ImageNotFound, ImageTooLarge
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
