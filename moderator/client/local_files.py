"""References to files of the machine on which a client runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pybase64

from moderator.errors import ImageNotFound, ImageTooLarge, NotAnImage


def reference_file(path: Path, roots: Sequence[Path], max_bytes: int) -> dict[str, Any]:
    """Reference a file: by path if it is under one of the roots, which workers may read, else inline.

    Raises:
        ImageNotFound: there is no such file.
        ImageTooLarge: it is larger than `max_bytes`.
        NotAnImage: it is empty.
    """
    full, by_path = check_file(path, roots, max_bytes)
    return {"path": str(full)} if by_path else {"inline": pybase64.b64encode_as_string(full.read_bytes())}


def check_file(path: Path, roots: Sequence[Path], max_bytes: int) -> tuple[Path, bool]:
    """Check a file as `reference_file` does, without reading it; return its full path, and whether it goes by path."""
    full = path.resolve()
    if not full.is_file():
        raise ImageNotFound(f"{path}: no such file")
    size = full.stat().st_size
    if not size:
        raise NotAnImage(f"{path}: the file is empty")
    by_path = any(full.is_relative_to(root.resolve()) for root in roots)
    if not by_path and size > max_bytes:
        raise ImageTooLarge(f"{path}: {size} bytes, more than MODERATOR_MAX_BYTES={max_bytes}")
    return full, by_path
