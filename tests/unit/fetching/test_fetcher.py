import base64
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderator.errors import (
    FetchFailed,
    FetchRefused,
    ImageNotFound,
    ImageTooLarge,
    ModeratorError,
    NotAnImage,
)
from moderator.events import ImageReference
from moderator.fetching.fetcher import Fetcher
from moderator.fetching.sources.inline import InlineSource, decode_inline
from moderator.fetching.sources.source import ImageSource
from moderator.settings import Settings

LIMIT = 100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "uploads"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.png").write_bytes(b"image")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "uploads-not").mkdir()
    (tmp_path / "uploads-not" / "a").write_bytes(b"secret")
    return root


@pytest.fixture
def fetcher(root: Path) -> Fetcher:
    return Fetcher.from_settings(Settings(fetch_roots=(root,), max_bytes=LIMIT))


def refused(fetcher: Fetcher, error: type[ModeratorError] = FetchRefused, **reference: str) -> str:
    with pytest.raises(error) as caught:
        fetcher.fetch(ImageReference(**reference))
    assert type(caught.value) is error
    return str(caught.value)


def test_reads_a_file_under_a_root(fetcher: Fetcher, root: Path) -> None:
    assert fetcher.fetch(ImageReference(path=str(root / "sub" / "a.png"))) == b"image"
    assert fetcher.fetch(ImageReference(path=f"{root}/sub/../sub//a.png")) == b"image"


def test_follows_a_link_that_stays_inside(fetcher: Fetcher, root: Path) -> None:
    (root / "link").symlink_to(root / "sub")
    assert fetcher.fetch(ImageReference(path=str(root / "link" / "a.png"))) == b"image"


def test_a_root_may_itself_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    fetcher = Fetcher.from_settings(Settings(fetch_roots=(tmp_path / "alias",)))
    assert fetcher.fetch(ImageReference(path=str(tmp_path / "alias" / "sub" / "a.png"))) == b"image"


def test_names_the_setting_where_no_root_is_set(root: Path) -> None:
    message = refused(Fetcher.from_settings(Settings(fetch_roots=())), path=str(root / "sub" / "a.png"))
    assert "MODERATOR_FETCH_ROOTS" in message


def test_nothing_outside_the_roots_is_read(fetcher: Fetcher, root: Path, tmp_path: Path) -> None:
    (root / "file-link").symlink_to(tmp_path / "secret")
    (root / "folder-link").symlink_to(tmp_path)
    outside = [
        "../secret",
        "sub/../../secret",
        "file-link",
        "folder-link/secret",
        "../missing",
        "../uploads-not/a",
    ]
    for path in [*(f"{root}/{name}" for name in outside), "/etc/passwd", "/proc/self/environ", "/dev/zero"]:
        assert "MODERATOR_FETCH_ROOTS" in refused(fetcher, path=path)
    assert "absolute" in refused(fetcher, path="sub/a.png")
    assert "absolute" in refused(fetcher, path=f"{root}/sub/a.png\0.png")


def test_a_link_put_there_after_the_check_is_not_followed(
    fetcher: Fetcher, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = os.path.realpath

    def swap_after_resolving(path: str) -> str:
        real = resolve(path)
        (root / "sub").rename(tmp_path / "moved")
        (root / "sub").symlink_to(tmp_path)
        return real

    (root / "sub" / "secret").write_bytes(b"mine")
    monkeypatch.setattr(os.path, "realpath", swap_after_resolving)
    assert "changed" in refused(fetcher, path=str(root / "sub" / "secret"))


def test_a_file_swapped_for_a_link_is_not_followed(
    fetcher: Fetcher, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = os.path.realpath

    def swap_after_resolving(path: str) -> str:
        real = resolve(path)
        (root / "sub" / "a.png").unlink()
        (root / "sub" / "a.png").symlink_to(tmp_path / "secret")
        return real

    monkeypatch.setattr(os.path, "realpath", swap_after_resolving)
    assert "changed" in refused(fetcher, path=str(root / "sub" / "a.png"))


def test_a_folder_that_is_swapped_all_the_time_never_leads_outside(
    fetcher: Fetcher, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(b"secret")
    done = threading.Event()

    def swap() -> None:
        (root / "link").symlink_to(tmp_path / "elsewhere")
        while not done.is_set():
            for first, second in (("sub", "aside"), ("link", "sub"), ("sub", "link"), ("aside", "sub")):
                (root / first).rename(root / second)

    swapping = threading.Thread(target=swap)
    swapping.start()
    outcomes: set[bytes | type[ModeratorError]] = set()
    try:
        for _ in range(2000):
            try:
                outcomes.add(fetcher.fetch(ImageReference(path=str(root / "sub" / "a.png"))))
            except ModeratorError as error:
                outcomes.add(type(error))
    finally:
        done.set()
        swapping.join()
    assert b"secret" not in outcomes
    assert outcomes <= {b"image", FetchRefused, FetchFailed, ImageNotFound}


@pytest.mark.timeout(10)
def test_only_regular_files_are_read(fetcher: Fetcher, root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(root, os.O_RDONLY)
        try:
            listener.bind(
                f"/proc/self/fd/{here}/socket" if os.path.isdir("/proc/self/fd") else f"{root}/socket"
            )
        finally:
            os.close(here)
    for name in ("fifo", "socket", "sub", "."):
        assert "regular file" in refused(fetcher, path=str(root / name))
    assert "regular file" in refused(fetcher, path=str(root / "sub" / "a.png" / "below"))
    devices = Fetcher.from_settings(Settings(fetch_roots=(Path("/dev"),)))
    for name in ("zero", "random", "null", "tty"):
        assert "regular file" in refused(devices, path=f"/dev/{name}")


def test_what_is_missing_or_unreadable_is_said(fetcher: Fetcher, root: Path) -> None:
    refused(fetcher, ImageNotFound, path=str(root / "missing"))
    refused(fetcher, FetchRefused, path=str(root / ("x" * 300)))
    if os.geteuid() != 0:
        (root / "closed").write_bytes(b"x")
        (root / "closed").chmod(0)
        assert "owner and mode" in refused(fetcher, path=str(root / "closed"))


def test_files_are_bounded(fetcher: Fetcher, root: Path) -> None:
    (root / "fits").write_bytes(bytes(LIMIT))
    (root / "large").write_bytes(bytes(LIMIT + 1))
    assert len(fetcher.fetch(ImageReference(path=str(root / "fits")))) == LIMIT
    assert "MODERATOR_MAX_BYTES" in refused(fetcher, ImageTooLarge, path=str(root / "large"))


def test_a_file_that_grows_while_it_is_read_is_bounded(
    fetcher: Fetcher, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "growing"
    path.write_bytes(b"x")
    stat = os.fstat

    def grow_after(descriptor: int) -> os.stat_result:
        facts = stat(descriptor)
        path.write_bytes(bytes(LIMIT * 10))
        return facts

    monkeypatch.setattr(os, "fstat", grow_after)
    refused(fetcher, ImageTooLarge, path=str(path))


def test_no_descriptor_leaks(fetcher: Fetcher, root: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for name in ("sub/a.png", "missing", "sub", "sub/a.png/x"):
        for _ in range(5):
            with suppress(ModeratorError):
                fetcher.fetch(ImageReference(path=str(root / name)))
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_threads_share_a_fetcher(fetcher: Fetcher, root: Path) -> None:
    results: list[bytes] = []
    reference = ImageReference(path=str(root / "sub" / "a.png"))
    threads = [threading.Thread(target=lambda: results.append(fetcher.fetch(reference))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [b"image"] * 8


def test_inline_is_strict_and_bounded(fetcher: Fetcher) -> None:
    assert fetcher.fetch(ImageReference(inline=base64.b64encode(bytes(LIMIT)).decode())) == bytes(LIMIT)
    refused(fetcher, ImageTooLarge, inline=base64.b64encode(bytes(LIMIT + 1)).decode())
    refused(fetcher, ImageTooLarge, inline="A" * 10_000)
    for text in ("aGk", "aG k=", "aGk=\n", "a-_=", "data:image/png;base64,aGk=", "ä", "="):
        assert "base64" in refused(fetcher, NotAnImage, inline=text)


@given(
    st.text("AQgw+/=-_ \n\0é", max_size=12)
    | st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode())
)
def test_inline_is_read_as_python_reads_it(text: str) -> None:
    try:
        expected = base64.b64decode(text, validate=True)
    except ValueError:
        with pytest.raises(NotAnImage):
            decode_inline(text, LIMIT)
    else:
        assert decode_inline(text, LIMIT) == expected


def test_a_url_goes_through_the_guarded_client(fetcher: Fetcher) -> None:
    assert "MODERATOR_FETCH_NETWORKS" in refused(fetcher, url="http://127.0.0.1:8080/")


def test_a_key_is_refused_with_the_remedy(fetcher: Fetcher) -> None:
    assert "pre-signed" in refused(fetcher, key="bucket/a.png")


def test_a_further_kind_of_source_is_one_more_entry() -> None:
    class Shelf(ImageSource):
        """Objects by key."""

        closed = False

        def fetch(self, reference: str, max_bytes: int) -> bytes:
            return {"bucket/a.png": b"image"}[reference][:max_bytes]

        def close(self) -> None:
            self.closed = True

    shelf = Shelf()
    fetcher = Fetcher({"key": shelf, "inline": InlineSource()}, LIMIT)
    assert fetcher.fetch(ImageReference(key="bucket/a.png")) == b"image"
    assert fetcher.fetch(ImageReference(inline="aGk=")) == b"hi"
    fetcher.close()
    assert shelf.closed
