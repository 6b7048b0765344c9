"""Converted models on disk: a folder of files that is either whole or made again."""

import json
import logging
import shutil
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path
from tempfile import mkdtemp

from moderator.errors import SettingsError

log = logging.getLogger(__name__)
DIGESTS = "digests.json"


def keep(folder: Path, build: Callable[[Path], None]) -> Path:
    """The folder, filled by `build` unless a whole one is there already.

    It is built beside its place and moved there, so a reader or a crash never sees half of it. Each file's
    SHA-256 is kept: a native library that maps a truncated file may end the process instead of raising.

    Args:
        folder: its place; the name has to say everything that the content depends on.
        build: writes files, without folders, into the folder that it is given.

    Raises:
        SettingsError: the cache cannot be written.
    """
    if folder.exists():
        if _whole(folder):
            return folder
        log.warning("converted model %s is broken: converting it again", folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            build(new)
            (new / DIGESTS).write_text(json.dumps(_digests(new)))
            _move(new, folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise SettingsError(
            f"cannot keep a converted model at {folder} ({error}); "
            "set MODERATOR_CACHE to a folder that can be written and has room"
        ) from error
    return folder


def _move(new: Path, folder: Path) -> None:
    try:
        new.rename(folder)
    except OSError:  # something is there: broken, or what another process has just made
        if not _whole(folder):
            shutil.rmtree(folder)
            new.rename(folder)


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != DIGESTS:
            with path.open("rb") as file:
                found[path.name] = file_digest(file, "sha256").hexdigest()
    return found


def _whole(folder: Path) -> bool:
    try:
        expected = json.loads((folder / DIGESTS).read_text())
        return bool(expected) and expected == _digests(folder)
    except (OSError, ValueError):
        return False
