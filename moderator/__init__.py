"""Self-hosted image moderation: CLIP-family models, versioned policies in words, one verdict for every upload."""

import os

# ONNX Runtime reports its use to Microsoft unless this is set before it is loaded. Nothing here calls home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from moderator.moderator import Moderator
from moderator.settings import Settings
from moderator.verdicts import Decision, Verdict

__all__ = ["Decision", "Moderator", "Settings", "Verdict"]
