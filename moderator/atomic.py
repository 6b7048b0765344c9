"""Write a file in one step: no reader sees half of it, and no crash or power cut leaves half of it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from uuid import uuid4


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file; see `replacing`."""
    with replacing(path) as new:
        new.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file to write; when the block ends, it replaces `path` and is synced to disk.

    Missing folders are created, a link stays a link, and permissions are kept. Two concurrent writers do not disturb
    each other: the later one wins.

    Raises:
        OSError: the file cannot be written; the previous one is unchanged.
    """
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new-{uuid4().hex}")
    try:
        yield new
        sync(new)
        if target.exists():
            shutil.copymode(target, new)
        new.replace(target)
        sync(target.parent)
    finally:
        new.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Sync a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed writers of a file left in a folder; `None` means any file.

    No other process may be writing meanwhile, so hold the lock of these files.
    """
    for left in folder.glob(f".{'*' if name is None else escape(name)}.new-*"):
        left.unlink(missing_ok=True)
