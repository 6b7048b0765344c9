"""Programs for Node.js that tests run: their packages, from the registry of npm or its cache."""

import subprocess
from pathlib import Path

import pytest

from tests.support.tools import needs

#: What npm says where it has no network.
OFFLINE = ("EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ENOTFOUND", "ETIMEDOUT")


def install_packages(folder: Path) -> None:
    """Install what `package-lock.json` in a folder lists. Without network the test is skipped."""
    needs("node", package="nodejs")
    needs("npm", package="npm")
    installed = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if any(code in installed.stderr for code in OFFLINE):
        pytest.skip(f"the registry of npm cannot be reached: {installed.stderr[-300:]}")
    assert installed.returncode == 0, installed.stderr
