"""Read signal files below a folder, only if their content is what the policy pins."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from moderator.errors import SignalFailed
from moderator.signals.known_files import KNOWN_FILES

#: Folder in the cache for further signal files.
SIGNAL_FILES = "signals"
MAX_BYTES = 1_000_000_000


@dataclass(frozen=True)
class PinnedFile:
    """A signal file whose content is what the policy pins."""

    folder: Path
    """The folder that the file is in."""
    content: bytes


def digest_below(folder: Path, name: str) -> str:
    """Return the SHA-256 of a file below a folder, 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    with (folder / name).open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_pinned(folders: Iterable[Path], name: str, digest: str) -> PinnedFile:
    """Read the file from the first folder that has it with this content.

    Raises:
        SignalFailed: no folder has it; the message states whether the file exists with other content.
    """
    other = ""
    for folder in folders:
        path = folder / name
        try:
            if not path.is_file():
                continue
            if path.stat().st_size > MAX_BYTES:
                raise SignalFailed(f"the file {name} has more than {MAX_BYTES} bytes; use a smaller one")
            content = path.read_bytes()
        except OSError as error:
            raise SignalFailed(f"the file {name} cannot be read ({error.strerror}); check it") from error
        found = sha256(content).hexdigest()
        if found == digest:
            return PinnedFile(path.parent, content)
        other = f"; there is one with the digest {found[:12]}"
    known = next((key for key, file in KNOWN_FILES.items() if file.sha256 == digest), None)
    remedy = f"run: moderator signals fetch {known}" if known else "put it there"
    raise SignalFailed(
        f"there is no file {name} with the digest {digest[:12]} in the folder of policies or the folder "
        f"'{SIGNAL_FILES}' of the cache{other}; {remedy}"
    )
