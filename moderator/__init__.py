"""Self-hosted image moderation: CLIP-family models, versioned policies in words, one verdict for every upload."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moderator.api import Moderator
    from moderator.client import AsyncClient, Client
    from moderator.settings import Settings
    from moderator.verdicts import Decision, Verdict

# ONNX Runtime reports its use to Microsoft unless this is set before it is loaded. Nothing here calls home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = ["AsyncClient", "Client", "Decision", "Moderator", "Settings", "Verdict"]

_HOMES = {
    "AsyncClient": "moderator.client",
    "Client": "moderator.client",
    "Decision": "moderator.verdicts",
    "Moderator": "moderator.api",
    "Settings": "moderator.settings",
    "Verdict": "moderator.verdicts",
}


def __getattr__(name: str) -> Any:
    """Load only the requested name: decoding processes also import this package, and have to be light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
