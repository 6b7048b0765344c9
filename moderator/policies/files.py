"""Writes the small shared files of a policy folder so that a reader never sees half of one."""

import os
import shutil
from pathlib import Path
from uuid import uuid4


def replace_text(path: Path, text: str) -> None:
    """Replace a file's content in one step. A link stays a link; the file's permissions are kept."""
    target = path.resolve()
    new = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        with new.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, new)
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
