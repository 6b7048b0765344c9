"""The tus server that stands in for tusd: a program for Node.js."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.tools import needs

PROGRAM = Path(__file__).parents[1] / "integration" / "node" / "tus"
#: What npm says where it has no network.
OFFLINE = ("EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ENOTFOUND", "ETIMEDOUT")


def install_tus(folder: Path) -> Path:
    """Install the server, and return the path of its program, which takes tusd's options."""
    needs("node", package="nodejs")
    needs("npm", package="npm")
    shutil.copytree(PROGRAM, folder, dirs_exist_ok=True)
    installed = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if any(code in installed.stderr for code in OFFLINE):
        pytest.skip(f"the registry of npm cannot be reached: {installed.stderr[-300:]}")
    assert installed.returncode == 0, installed.stderr
    return folder / "server.mjs"
