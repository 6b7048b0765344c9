"""Which image files a folder or a list names, without holding them all."""

import os
from collections.abc import Iterator
from pathlib import Path

from moderator.errors import ImageNotFound

#: What is taken from a folder. Whether a file really is an image is decided by its content.
SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".ico", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)


def list_images(source: Path) -> Iterator[str]:
    """Image files below a folder, folder by folder in sorted order; or the lines of a list file.

    Relative paths in a list start at its folder. URLs are left as they are, and empty lines are left out. Links to
    folders are not followed.

    Raises:
        ImageNotFound: there is no such folder or file.
    """
    if source.is_dir():
        yield from _walk(str(source))
        return
    try:
        # Names that are not UTF-8 come through, as from the file system.
        with source.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                name = line.rstrip("\r\n")
                if name.startswith(("http://", "https://")):
                    yield name
                elif name:
                    yield os.path.join(source.parent, name)
    except OSError as error:
        raise ImageNotFound(
            f"{source}: no folder, and no list that can be read ({error.strerror})"
        ) from error


def expand_images(names: list[str]) -> list[str]:
    """Folders stand for the image files in them, anything else for itself."""
    images: list[str] = []
    for name in names:
        # Through Path, so that what lies in `.` is called by its name alone.
        images += [str(Path(file)) for file in list_images(Path(name))] if Path(name).is_dir() else [name]
    return images


def _walk(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except PermissionError as error:
        raise ImageNotFound(
            f"{folder} may not be read by this process: mend its mode or leave it out"
        ) from error
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
            yield entry.path
