"""The Lua scripts: each is one atomic change in Redis."""

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

Call = tuple[list[str], list[Any]]
"""Keys and arguments."""


@cache
def script_text(name: str) -> str:
    """Return the text of a script in `lua/`, as sent to servers."""
    folder = files("moderator.queue") / "lua"
    return (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()


@cache
def script_sha(name: str) -> str:
    """Return the digest by which a server knows a script that it has loaded."""
    return sha1(script_text(name).encode(), usedforsecurity=False).hexdigest()
