"""A small disk that can be filled."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PAGE = 4096


class NoSmallDisk(Exception):
    """It cannot be had on this machine; the message says why."""


class SmallDisk:
    """A file system of so many bytes, in memory.

    Raises:
        NoSmallDisk: this user may not mount one.
    """

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir()
        self.folder = folder
        self._ballast = folder / "ballast"
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise NoSmallDisk(f"no small disk can be mounted: {error}") from error
        if done.returncode:
            raise NoSmallDisk(f"no small disk can be mounted: {done.stderr.strip()}")

    def __enter__(self) -> "SmallDisk":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fill(self, leave: int = 0) -> None:
        """Leave so many bytes, or fewer: others write, too."""
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            while (state := os.statvfs(self.folder)).f_bavail * state.f_frsize > leave:
                file.write(bytes(PAGE))

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()

    def close(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", str(self.folder)], check=True)
