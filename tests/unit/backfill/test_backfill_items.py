import base64
from pathlib import Path

import pytest

from moderator.backfill.backfill_items import Item, ReferenceMaker
from moderator.errors import EventInvalid, ImageNotFound, ImageTooLarge, ModeratorError, NotAnImage
from moderator.events import parse_message
from moderator.settings import Settings

ITEM = Item(7, "https://example.com/a.jpg", "run:%/x-3", 12)


def test_an_item_has_the_key_that_its_event_has() -> None:
    body = {"id": ITEM.bulk, "source": "backfill", "images": [{"path": "/a"}] * 13}
    event = parse_message(body)[12]
    assert (ITEM.event_id, ITEM.key) == (event.id, event.key)
    again = parse_message(
        {"id": ITEM.event_id, "bulk": ITEM.bulk, "source": "backfill", "image": {"path": "/a"}}
    )
    assert again[0].key == ITEM.key
    assert ITEM.event("p").key == ITEM.key


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("s3://uploads/a b.jpg", "key", "uploads/a b.jpg"),
        ("https://example.com/a.jpg", "url", "https://example.com/a.jpg"),
        ("/srv/a.jpg", "path", "/srv/a.jpg"),
    ],
)
def test_names_become_references(name: str, kind: str, value: str) -> None:
    image = Item(1, name, "b", 0).event(None).image
    assert {k: v for k in ("path", "url", "key", "inline") if (v := getattr(image, k))} == {kind: value}
    settings = Settings(buckets=("uploads",), fetch_roots=(Path("/srv"),))
    assert ReferenceMaker(settings, files=True).make(name) == {kind: value}


def test_files_elsewhere_go_inline(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"abc")
    maker = ReferenceMaker(Settings(), files=True)
    assert maker.check(str(file)) == 3
    assert maker.make(str(file)) == {"inline": base64.b64encode(b"abc").decode()}
    file.unlink()
    assert maker.make(str(file)) == {"path": str(file)}, "the worker says that it is gone"


def test_files_under_a_root_go_by_path(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.jpg").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "root")
    maker = ReferenceMaker(Settings(fetch_roots=(tmp_path / "root",)), files=True)
    name = str(tmp_path / "link" / "a.jpg")
    assert maker.check(name) == 0
    assert maker.make(name) == {"path": str(tmp_path / "root" / "a.jpg")}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("/nowhere.jpg", ImageNotFound),
        ("caf\udce9.jpg", ImageNotFound),
        ("empty.jpg", NotAnImage),
        ("large.jpg", ImageTooLarge),
        ("https://example.com/" + "x" * 9000, EventInvalid),
        ("https://exa mple.com/a.jpg", EventInvalid),
        ("s3://others/a.jpg", EventInvalid),
        ("s3://uploads/../a.jpg", EventInvalid),
    ],
)
def test_what_no_worker_could_judge_is_refused(
    tmp_path: Path, name: str, error: type[ModeratorError]
) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "large.jpg").write_bytes(b"x" * 101)
    full = name if "://" in name else str(tmp_path / name)
    with pytest.raises(error):
        ReferenceMaker(Settings(max_bytes=100, buckets=("uploads",)), files=True).check(full)


def test_a_table_names_no_files(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    with pytest.raises(EventInvalid, match=r"neither an http\(s\) URL nor"):
        ReferenceMaker(Settings(), files=False).check(str(tmp_path / "a.jpg"))
