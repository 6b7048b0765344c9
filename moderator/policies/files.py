"""Writes the small shared files of a policy folder: one writer at a time, and no reader sees half of a file."""

import fcntl
import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from moderator.errors import PolicyNotWritten

#: Who holds it may write to the folder. It is removed by its holder; one that a killed process left locks nothing.
WRITE_LOCK = ".writing"
#: Seconds that a command waits for others.
LOCK_PATIENCE = 15.0


@contextmanager
def locked(folder: Path, patience: float = LOCK_PATIENCE) -> Iterator[None]:
    """Be the only writer of a folder, among all processes of this machine (on NFS: of all machines).

    Raises:
        PolicyNotWritten: others hold it for longer than `patience` seconds, or the folder cannot be written to.
    """
    path = folder / WRITE_LOCK
    deadline = time.monotonic() + patience
    while (lock := _acquire(path)) is None:
        if time.monotonic() > deadline:
            raise PolicyNotWritten(
                f"another command has been changing {folder} for {patience:g} s (it holds {path}); wait until it "
                "ends, or end it, and try again"
            )
        time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 (spreads load; nothing secret)
    try:
        for left in folder.glob(".*.new-*"):  # of a writer that was killed
            left.unlink(missing_ok=True)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _acquire(path: Path) -> int | None:
    """The lock, open; None if another has it."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise PolicyNotWritten(
            f"{path.parent} cannot be written to ({error.strerror}); check the permissions and the disk"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it may have removed it since we opened it: then we hold a file that no other will find.
        if path.stat().st_ino == os.fstat(lock).st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        os.close(lock)
        raise PolicyNotWritten(
            f"{path} cannot be locked ({error.strerror}); check the file system"
        ) from error
    os.close(lock)
    return None


def replace_text(path: Path, text: str) -> None:
    """Replace a file's content in one step that a power cut survives. A link stays a link; permissions are kept.

    Raises:
        PolicyNotWritten: that is not possible; the file is as it was.
    """
    target = path.resolve()
    new = target.with_name(f".{target.name}.new-{uuid4().hex}")
    try:
        with new.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, new)
        new.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise PolicyNotWritten(f"{path} cannot be written ({error.strerror}); nothing has changed") from error
    finally:
        new.unlink(missing_ok=True)
