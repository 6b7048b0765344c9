"""The tus server that stands in for tusd: a program for Node.js."""

import shutil
from pathlib import Path

from tests.support.npm import install_packages

PROGRAM = Path(__file__).parents[1] / "integration" / "node" / "tus"


def install_tus(folder: Path) -> Path:
    """Install the server, and return the path of its program, which takes tusd's options."""
    shutil.copytree(PROGRAM, folder, dirs_exist_ok=True)
    install_packages(folder)
    return folder / "server.mjs"
