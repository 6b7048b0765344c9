"""Images that the caller names: any file, at any path, and URLs as events have them."""

import os
from pathlib import Path

import pytest

from moderator.errors import FetchRefused, ImageNotFound, ImageTooLarge, ModeratorError
from moderator.fetching.fetcher import TrustedFetcher
from moderator.settings import Settings

LIMIT = 100


@pytest.fixture
def fetcher() -> TrustedFetcher:
    return TrustedFetcher(Settings(max_bytes=LIMIT))


def test_any_file_may_be_read_at_any_path(
    fetcher: TrustedFetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"image")
    (tmp_path / "link").symlink_to(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", Path("a.png"), "./x/../a.png", "link", str(tmp_path / "a.png")):
        (tmp_path / "x").mkdir(exist_ok=True)
        assert fetcher.fetch(name) == b"image"


def test_a_name_need_not_be_utf8(fetcher: TrustedFetcher, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"r\xe9d.png")
    path.write_bytes(b"image")
    assert fetcher.fetch(path) == b"image"


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing", ImageNotFound),
        ("", FetchRefused),
        (".", FetchRefused),
        ("fifo", FetchRefused),
        ("a\0b", FetchRefused),
        ("\ud800", FetchRefused),
        ("x" * 5000, FetchRefused),
        ("large/below", FetchRefused),
        ("large", ImageTooLarge),
        ("/dev/zero", FetchRefused),
        ("http://127.0.0.1:1/", FetchRefused),
        ("https://", FetchRefused),
    ],
)
def test_what_is_no_image_file_is_refused(
    fetcher: TrustedFetcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: type[ModeratorError],
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes(LIMIT + 1))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModeratorError) as caught:
        fetcher.fetch(name)
    assert type(caught.value) is error
