"""Write the small shared files of a policy folder: one writer at a time, and no reader sees half of a file."""

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moderator.atomic import remove_leftovers, sync, write_atomically
from moderator.errors import PolicyNotWritten

#: The process that holds this file's lock may write to the folder, and removes the file afterwards. A file left by a
#: killed process locks nothing.
WRITE_LOCK = ".writing"
LOCK_TIMEOUT_SECONDS = 15.0


@contextmanager
def locked(folder: Path, timeout: float = LOCK_TIMEOUT_SECONDS) -> Iterator[None]:
    """Hold the folder's lock: one writer at a time, on this machine (on NFS: on all machines).

    Raises:
        PolicyNotWritten: others hold the lock for longer than `timeout` seconds, or the folder is not writable.
    """
    path = folder / WRITE_LOCK
    deadline = time.monotonic() + timeout
    while (lock := _acquire(path)) is None:
        if time.monotonic() > deadline:
            raise PolicyNotWritten(
                f"another command has been changing {folder} for {timeout:g} s (it holds {path}); wait until it "
                "ends, or end it, and try again"
            )
        time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 (spreads load; nothing secret)
    try:
        remove_leftovers(folder)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def _acquire(path: Path) -> int | None:
    """Return the descriptor of the lock, or None if another process holds it."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise PolicyNotWritten(
            f"{path.parent} cannot be written to ({error.strerror}); check the permissions and the disk"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The previous holder may have removed the file after we opened it: then no other process can find our lock.
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
    """Replace a file's content in one step that survives a power cut; see `atomic.replacing`.

    Raises:
        PolicyNotWritten: the file cannot be written, and is unchanged.
    """
    with _writing(path):
        write_atomically(path, text.encode())


def append_line(path: Path, line: str) -> None:
    """Append a line to a file; it is on disk when this returns.

    A fragment left by a killed writer stays, as a line of its own.

    Raises:
        PolicyNotWritten: the file cannot be written.
    """
    with _writing(path), path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        torn = file.read(1) not in (b"", b"\n")
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        if not end:
            sync(path.resolve().parent)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PolicyNotWritten(
            f"{path} cannot be written ({error.strerror}); nothing has changed; check the permissions and the disk"
        ) from error
