"""What whoever runs the tests may have set, and no test wants."""

import os
import signal
from pathlib import Path

import pytest

# What is ignored here (by `nohup`, or by a shell for what it runs in the background), is ignored by all that the tests
# start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tables are as wide as this says from the moment on that they are imported; parallel runs set it.
os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled policies: one folder for all workers, whichever process of the run starts them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    (folder / "cache").mkdir(exist_ok=True)
    return folder / "cache"
