"""What tests need and a machine may lack: programs, extras, rights.

Elsewhere such a test is skipped, with the reason. Where CI runs (`CI=true`) it fails: nobody sees a test that is
skipped there, and CI installs all of this (`.ci/run`, `make test`).
"""

import importlib
import os
import shutil
from typing import Any, NoReturn

import pytest


def in_ci() -> bool:
    """Whether this is a run of CI, as all of its services say."""
    return os.environ.get("CI", "").lower() in ("true", "1")


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test, or the module that is being imported; fail in CI. `remedy`: how what is missing can be had."""
    message = f"{what}; {remedy}"
    if in_ci():
        pytest.fail(message, pytrace=False)
    pytest.skip(message, allow_module_level=True)


def needs(program: str, package: str) -> str:
    """Return the path of a program that a Debian package brings; without it, see `missing`."""
    found = shutil.which(program)
    if found is None:
        missing(f"{program} is not installed", f"apt-get install {package}")
    return found


def needs_extra(module: str, extra: str) -> Any:
    """Return a module of one of our extras, all of which `make test` installs; without it, see `missing`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing(str(error), f"pip install 'moderator[{extra}]'")
