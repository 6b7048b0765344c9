"""List the image files that a folder or a list names, one by one."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from moderator.errors import ImageNotFound, NoImages
from moderator.fetching.urls import is_url

#: Suffixes of the files taken from a folder. Whether a file really is an image is decided by its content.
SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".ico", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
#: A pattern, which a shell leaves unchanged if nothing matches.
_PATTERN = re.compile(r"[*?\[]")


def list_images(source: Path) -> Iterator[str]:
    """Yield the image files below a folder, folder by folder in sorted order; or the lines of a list file.

    Relative paths in a list start at its folder. URLs are unchanged, and empty lines are skipped. Links to folders
    are not followed.

    Raises:
        ImageNotFound: there is no such folder or file.
        NoImages: the source is another kind of file, such as an image.
    """
    if source.is_dir():
        yield from _walk(str(source))
        return
    try:
        # Names that are not UTF-8 are kept, as from the file system.
        with source.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                if "\0" in line:
                    raise NoImages(
                        f"{source} is no list of names; give a folder, or a text file with a name a line"
                    )
                name = line.rstrip("\r\n")
                if is_url(name):
                    yield name
                elif name:
                    yield os.path.join(source.parent, name)
    except OSError as error:
        raise ImageNotFound(
            f"{source}: no folder, and no list that can be read ({error.strerror})"
        ) from error


def expand_images(names: list[str]) -> list[str]:
    """Return the images for names: a folder stands for the image files in it, anything else for itself.

    Raises:
        NoImages: the names stand for nothing: only empty folders, or patterns that match nothing.
        ImageNotFound: a folder cannot be read.
    """
    images: list[str] = []
    for name in names:
        # Through Path, so that a file in `.` is called by its bare name.
        images += [str(Path(file)) for file in list_images(Path(name))] if Path(name).is_dir() else [name]
    if not images:
        raise no_images(Path(names[0]))
    if all(_is_pattern(name) for name in images):
        raise NoImages(f"{images[0]}: nothing matches this pattern; check it, or name a file or a folder")
    return images


def no_images(source: Path) -> NoImages:
    """Return the error for a folder or list without images."""
    if not source.is_dir():
        return NoImages(f"no images in {source}: the list is empty; write one path or URL a line")
    return NoImages(
        f"no images in {source}: neither it nor the folders in it have files that end in "
        f"{', '.join(sorted(SUFFIXES))}; name other files one by one"
    )


def _is_pattern(name: str) -> bool:
    """Return whether a name is a pattern that a shell left unchanged because nothing matches it."""
    return _PATTERN.search(name) is not None and not is_url(name) and not Path(name).exists()


def _walk(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except PermissionError as error:
        raise ImageNotFound(
            f"{folder} may not be read by this process: give it the right (chmod u+rx), or leave it out"
        ) from error
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
            yield entry.path
